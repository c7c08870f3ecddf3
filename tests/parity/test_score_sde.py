"""The SDEs of Song et al. 2021, against the numbers of their code."""

import torch

from difflab.laws import close
from difflab.process.schedule import VE, VP, SubVP
from helpers.closed_forms import f64
from helpers.laws import assert_law

NAMES = ("alpha", "sigma", "g")
TIMES = (1e-5, 1e-3, 0.1, 0.5, 1)
SONG = {  # yang-song/score_sde_pytorch at TIMES: alpha, sigma, g
    VP(): (
        [0.99999952, 0.99994504, 0.94672179, 0.28118288, 0.00657159],
        [0.00100662, 0.01048669, 0.32205257, 0.95965421, 0.99997836],
        [0.31654227, 0.34626579, 1.4456832, 3.1701734, 4.4721360],
    ),
    SubVP(): (
        [0.99999952, 0.99994504, 0.94672179, 0.28118288, 0.00657159],
        [1.0132790e-6, 1.0997057e-4, 0.10371786, 0.92093617, 0.99995679],
        [4.5062e-4, 5.134569e-3, 0.64113772, 3.1602495, 4.4721360],
    ),
    VE(): (
        [1, 1, 1, 1, 1],
        [0.01000085, 0.01008554, 0.02343673, 0.70710677, 50],
        [0.04127625, 0.04162577, 0.09672979, 2.9184232, 206.36368],
    ),
}


def test_alpha_sigma_and_diffusion_are_the_published_ones():
    def cases():
        t = f64(*TIMES)
        for schedule, published in SONG.items():
            for name, found, value in zip(NAMES, (*schedule(t), schedule.diffusion(t)), published, strict=True):
                case, value = f"{schedule}: {name}", torch.tensor(value, dtype=torch.float64)
                # the published values are float32: near t = 0 their 1 - alpha^2 has lost digits
                yield close(case, found[:1], value[:1], rtol=2e-2, atol=1e-7, t=t[:1])
                yield close(case, found[1:], value[1:], rtol=2e-4, atol=1e-7, t=t[1:])

    assert_law(cases())
