"""Inverse problems: the operators of conf/problem against dense linear algebra."""

import math

import pytest
import torch

from difflab.guidance.problem import CompressedSensing, Deblur, InpaintBox, InpaintPixels, SuperResolution
from difflab.guidance.restoration import DPS
from difflab.guidance.scan import MRI, Tomography
from difflab.laws import close
from helpers.closed_forms import f64, normal
from helpers.conf import options
from helpers.laws import assert_law
from helpers.problems import matrix, problem

SMALL = (1, 4, 4)


def problems(*shapes):
    """Every option of conf/problem on images of these shapes, and its name."""
    return [(f"{option} on {shape}", problem(option, shape)) for option in options("problem") for shape in shapes]


def test_operators_are_those_of_dense_linear_algebra():
    """`pinv` against the singular value decomposition, its ridge against a solve, autograd against the transpose."""
    ridge, cases, exact = f64(0.01, 0.5, 20.0), [], {"rtol": 1e-7, "atol": 1e-7}
    for case, operator in problems((1, 16, 16), (2, 8, 12)):
        a, x = matrix(operator), normal(3, *operator.shape).requires_grad_()
        y = operator(x)
        z = normal(*y.shape, seed=1)
        (transposed,) = torch.autograd.grad(y, x, z)
        rows = z.flatten(1)
        inverse = rows @ torch.linalg.pinv(a, rtol=1e-6).mT
        gram, eye = a @ a.mT, torch.eye(len(a))
        solved = [a.mT @ torch.linalg.solve(gram + k * eye, row) for k, row in zip(ridge, rows, strict=True)]
        found = operator.pinv(z, ridge)
        cases += [
            close(f"{case}: A x", y.flatten(1), x.flatten(1) @ a.mT, **exact),
            close(f"{case}: A^T z", transposed.flatten(1), rows @ a, **exact),
            close(f"{case}: A^+ z", operator.pinv(z).flatten(1), inverse, rtol=1e-7, atol=1e-9),
            close(f"{case}: ridge", found.flatten(1), torch.stack(solved), **exact),
            close(f"{case}: one ridge for all", operator.pinv(z, ridge[1])[1], found[1], **exact),
        ]
    assert_law(cases)


def test_penroses_laws():
    """`A A^+ A = A`, `A^+ A A^+ = A^+`, and `A A^+` and `A^+ A` are symmetric, in float32."""
    cases = []

    def dot(a, b):
        return (a.double() * b.double()).flatten(1).sum(1)

    for case, operator in problems((1, 28, 28), (3, 32, 32), (1, 10, 6)):
        x, w = (normal(2, *operator.shape, seed=seed).float() for seed in (0, 2))
        y = operator(x)
        z = normal(*y.shape, seed=1).float()
        back, projected = operator.pinv(z), operator.pinv(y)
        again = operator(projected)
        cases += [
            close(f"{case}: A A^+ A", again, y, atol=1e-4),
            close(f"{case}: A^+ A A^+", operator.pinv(operator(back)), back, atol=1e-3),
            close(f"{case}: A A^+", dot(operator(back), y), dot(z, again), rtol=1e-4, atol=1e-3),
            close(f"{case}: A^+ A", dot(projected, w), dot(x, operator.pinv(operator(w))), rtol=1e-4, atol=1e-3),
        ]
    assert_law(cases)


def test_what_is_drawn_is_a_function_of_the_seed():
    x = normal(2, 1, 8, 8)
    for option in ("inpaint_pixels", "compressed_sensing", "mri"):
        one, same, other = (problem(option, (1, 8, 8), seed=seed)(x) for seed in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


def test_an_mri_without_acceleration_is_the_fourier_transform():
    """Of all columns `A^+ A = I`, and Parseval's equation holds; of fewer the mean grey, frequency 0, is known."""
    x, every = normal(2, 1, 8, 12), MRI((1, 8, 12), acceleration=1.0)
    y = every(x)
    assert_law(
        [
            close("inverse", every.pinv(y), x, atol=1e-12),
            close("Parseval", y.square().sum((1, 2, 3, 4)), x.square().sum((1, 2, 3)), rtol=1e-12),
        ]
    )
    for acceleration in (2.0, 4.0, 12.0):
        few = MRI((1, 8, 12), acceleration=acceleration)
        assert len(few.taken()) == round(12 / acceleration)
        torch.testing.assert_close(few.pinv(few(x)).mean((1, 2, 3)), x.mean((1, 2, 3)))


def test_rays_of_tomography_see_all_of_an_image_once():
    """Each direction sums to the whole image; the first sums columns and the middle one rows; a disc looks alike."""
    x = normal(2, 1, 12, 12).abs()
    scan = Tomography((1, 12, 12), angles=4, cut=1e-9)
    y = scan(x) * 12  # in pixels
    inside = slice((y.shape[-1] - 12) // 2, (y.shape[-1] + 12) // 2)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    disc = ((rows - 15.5).hypot(columns - 15.5) < 11).double()[None, None]
    seen = Tomography((1, 32, 32), angles=6, cut=1e-9)(disc)[0, 0]
    half = torch.arange(seen.shape[1]) - (seen.shape[1] - 1) / 2
    chord = 2 * (121 - half.square()).clamp(min=0).sqrt() / 32
    assert_law(
        [
            close("mass", y.sum(-1), x.sum((2, 3))[..., None].expand(-1, -1, 4), rtol=1e-9),
            close("columns", y[:, :, 0, inside], x.sum(2), atol=1e-9),
            close("rows", y[:, :, 2, inside], x.sum(3), atol=1e-9),
            close("chords of a disc", seen, chord.expand_as(seen).double(), atol=0.1 / math.sqrt(2)),
        ]
    )


def test_what_makes_no_sense_is_refused(subtests):
    for wrong, message in [
        (lambda: SuperResolution((1, 16, 18), factor=4), "factor=4 must be 2 or more and divide 16 and 18"),
        (lambda: Deblur((2,)), r"images \(C, H, W\)"),
        (lambda: Deblur(SMALL, width=0), "width=0"),
        (lambda: InpaintBox(SMALL, rows=(0.5, 0.2)), "rising shares"),
        (lambda: InpaintBox(SMALL, rows=(0, 1), columns=(0, 1)), "lose no pixel"),
        (lambda: InpaintPixels(SMALL, share=1.0), "share=1.0"),
        (lambda: CompressedSensing(SMALL, ratio=0.01), "ratio=0.01"),
        (lambda: MRI(SMALL, acceleration=0.5), "acceleration=0.5"),
        (lambda: MRI(SMALL, acceleration=10.0), "leaves no column"),
        (lambda: MRI(SMALL, center=0.0), "center=0.0"),
        (lambda: Tomography(SMALL, angles=0), "angles=0"),
        (lambda: Tomography((1, 16, 65)), "64 a side at most"),
        (lambda: DPS()(SuperResolution(SMALL), normal(1, 1, 2, 2), -0.1), "noise_std=-0.1"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            wrong()
