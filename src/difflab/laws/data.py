"""Laws of data: the same samples at each load, splits that do not overlap, codecs that lose nothing, true facts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import torch

from difflab.data.images import Images, Split
from difflab.data.module import DataModule
from difflab.laws.worst import Worst, close, violations, worst

ROWS = slice(256)  # samples that pictures are made of


def name(data: DataModule) -> str:
    """The data in the name of a case."""
    return f"{data.source}"


def splits(images: Images) -> dict[str, Split]:
    """Both splits by name."""
    return {"training": images.train, "held-out": images.test}


def contents(split: Split) -> list[str]:
    """The sum of the bytes of each sample."""
    return [hashlib.sha256(row.numpy().tobytes()).hexdigest() for row in split.x.contiguous()]


def loading_is_deterministic(data: DataModule) -> Worst:
    """Every load gives the same samples and labels in the same order, in any state of torch's generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = data.source.load()
        torch.manual_seed(2)
        again = data.source.load()
    pairs = zip(splits(first).values(), splits(again).values(), strict=True)
    unlike = [a.labelled_sha256 != b.labelled_sha256 for a, b in pairs]
    return violations(f"{name(data)}: loaded twice", torch.tensor([*unlike, first.names != again.names]))


def held_out_samples_are_not_trained_on(data: DataModule) -> Worst:
    """No held-out sample is a training sample, by content, but for one in 500: published sets have twins."""
    trained, held_out = set(contents(data.images.train)), contents(data.images.test)
    found = sum(row in trained for row in held_out)
    case = f"{name(data)}: {found} of {len(held_out)} held-out samples are training samples"
    return Worst(case, found / len(held_out), 1 / 500)


def decoding_undoes_encoding(data: DataModule) -> Worst:
    """`decode(encode(x)) = x`: whole numbers exactly and in their type, float32 to rounding."""
    cases = []
    for key, split in splits(data.images).items():
        exact, decoded = not split.x.is_floating_point(), data.codec.decode(data.codec.encode(split.x))
        rounding = 0.0 if exact else 1e-6 * max(1.0, split.x.abs().max().item())
        both = (part.double() for part in (decoded, split.x))
        cases.append(close(f"{name(data)}: {key} samples", *both, atol=rounding))
        stored = decoded.dtype == split.x.dtype or torch.int32 == split.x.dtype  # which deep pixels are read as
        cases.append(violations(f"{name(data)}: {decoded.dtype} of {split.x.dtype}", torch.tensor([not stored])))
    return worst(cases)


def encoded_samples_fit_models(data: DataModule) -> Worst:
    """Models see finite float32; of samples on levels, equidistant values of [-1, 1]."""
    cases, levels = [], data.codec.levels
    for key, split in splits(data.images).items():
        x, case = data.codec.encode(split.x), f"{name(data)}: {key} samples"
        cases.append(violations(f"{case} are float32 {split.shape}", torch.tensor([x.dtype != torch.float32])))
        cases.append(violations(f"{case} are finite", ~x.isfinite()))
        if levels is not None:
            place = (x.double() + 1) * ((levels - 1) / 2)
            lies = place.round().clamp(0, levels - 1)
            cases.append(close(f"{case}: distance from the {levels} levels", place, lies, atol=0.01))
    return worst(cases)


def facts_are_the_stated_ones(data: DataModule) -> Worst:
    """Type, shape and number of classes are those that the configuration states."""
    images = data.source.load()
    for key, split in splits(images).items():
        try:
            data.codec.check(split.x)
        except ValueError as error:
            return Worst(f"{name(data)}: {key} samples: {error}", math.inf, 0.0)
    found = [(split.shape, images.classes) for split in splits(images).values()]
    case = f"{name(data)}: shape and classes {found} in place of {data.shape}, {data.classes}"
    return violations(case, torch.tensor([each != (data.shape, data.classes) for each in found]))


def labels_are_classes(data: DataModule) -> Worst:
    """Labels lie in 0..classes - 1, where there are no classes they are 0, and every class has training samples.

    A caption, a number or an image that a label looks up may be that of held-out samples alone.
    """
    classes, cases = max(1, data.classes), []
    for key, split in splits(data.images).items():
        case = f"{name(data)}: {key} labels outside 0..{classes - 1}"
        cases.append(violations(case, (split.y < 0) | (split.y >= classes)))
    known = torch.unique(data.images.train.y) if data.images.lookup is None else torch.arange(classes)
    empty = ~torch.isin(torch.arange(classes), known)
    return worst([*cases, violations(f"{name(data)}: classes without training samples", empty)])


def sigma_data_is_the_standard_deviation(data: DataModule, tolerance: float = 0.01) -> Worst:
    """`sigma_data` is the standard deviation of the training samples as models see them, to a hundredth."""
    found = data.samples()[0].double().std().item()
    case = f"{name(data)}: sigma_data={data.sigma_data:g} where {found:.4g} is measured"
    return Worst(case, abs(found - data.sigma_data), tolerance * found)


def samples_can_be_shown_and_measured(data: DataModule) -> Worst:
    """Pictures are uint8 `(N, 1 or 3, H, W)` or points `(N, 2)`, and not blank; metrics get a row for each sample."""
    x = data.images.train.x[ROWS]
    shown, seen, case = data.codec.show(x), data.codec.measure(x), f"{name(data)}: shown"
    if data.codec.cloud:
        fits = shown.shape == (len(x), 2) and shown.is_floating_point()
    else:
        fits = shown.dtype == torch.uint8 and shown.ndim == 4 and len(shown) == len(x) and shown.shape[1] in (1, 3)
    blank = bool((shown == shown.flatten()[0]).all())
    kind = f"{shown.dtype} {tuple(shown.shape)}"
    return worst(
        [
            violations(f"{case} as {kind}", torch.tensor([not fits])),
            violations(f"{case} as one value", torch.tensor([blank])),
            violations(f"{case}: {len(seen)} rows measured of {len(x)}", torch.tensor([len(seen) != len(x)])),
        ]
    )


Law = Callable[[DataModule], Worst]

LAWS: tuple[Law, ...] = (
    facts_are_the_stated_ones,
    loading_is_deterministic,
    held_out_samples_are_not_trained_on,
    labels_are_classes,
    decoding_undoes_encoding,
    encoded_samples_fit_models,
    sigma_data_is_the_standard_deviation,
    samples_can_be_shown_and_measured,
)
