"""Made-up evaluations with pictures, for the page of a study, and what a person sees of its tables."""

import functools

import numpy as np
import torch

from difflab.data.codec import Pixels
from difflab.data.fashion16 import Fashion16
from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.measured import Pairs, measured_sheets
from helpers.studies import NFES, PARADIGMS, SAMPLERS, SEEDS, card, config, distance, record, write_record

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
TAG = "<img src=x onerror=alert(3)>"  # in the name of a run's folder, which holds no slash


@functools.cache
def clothes():
    test = Fashion16().load().test
    return torch.stack([test.x[test.y == label][row] for row in range(2) for label in range(10)]).float()


def pictures(path, noise):
    """The pictures beside an evaluation: clothes with the more noise, the worse it is."""
    chosen = clothes()
    eps = 128 + 128 * torch.randn(chosen.shape, generator=torch.Generator().manual_seed(0))
    mixed = {share: torch.lerp(chosen, eps, share).clamp(0, 255).byte() for share in (0, noise)}
    way = [torch.lerp(chosen[:4], eps[:4], max(noise, 1 - k / 11)) / 127.5 - 1 for k in range(12)]
    names = Fashion16().load().names
    pairs = Pairs(mixed[noise][:8], mixed[0][:8], torch.arange(8), torch.arange(8))
    sheets = measured_sheets(mixed[noise], way, pairs, torch.arange(20) % 10, names, Pixels(), "made up")
    for kind, sheet in sheets.items():
        save_png(sheet.image, path.with_name(f"{path.stem}-{kind}.png"))


def measured(
    folder, level, paradigm="ddpm", seed=0, sampler="Heun()", nfe=20, choices=None, data="fashion16", **card_of
):
    rng = np.random.default_rng([seed, int(nfe)])
    made = record(
        config(paradigm, seed, data, command=f"difflab-train paradigm={paradigm} seed={seed} '{HOSTILE}'"),
        card(sampler=sampler, nfe=nfe, **card_of),
        folder,
        choices,
        fd_lite0=level + 0.3 * rng.normal() + 0.2 * np.random.default_rng([seed, int(100 * level)]).normal(),
        fd_lite0_floor=1.2,
        kid_lite0=level / 1000,
        kid_lite0_floor=-0.0001,
        precision_lite0=0.9 - level / 100,
        precision_lite0_floor=0.95,
        copies=0.001,
        copies_floor=0.001,
    )
    made.cost["peak_memory"] = 300 * 2**20
    path = write_record(made, pictures=False)
    if seed == 0:
        pictures(path, min(0.9, level / 40))
    return made.run


def grid(folder, nfes=NFES, seeds=SEEDS, **card_of):
    """The study of the page: 3 paradigms, 2 samplers, 4 NFE, 3 seeds."""
    runs = [
        measured(folder, distance(paradigm, sampler, nfe), paradigm, seed, sampler, nfe, **card_of)
        for paradigm in PARADIGMS
        for sampler in SAMPLERS
        for nfe in nfes
        for seed in seeds
    ]
    return list(dict.fromkeys(runs))


def rows(page, table=".numbers"):
    """The visible rows of a table, by their cells."""
    visible = page.locator(f"{table} tbody tr:visible").all()
    return [row.locator("th, td").all_inner_texts() for row in visible]
