"""Functions for values in conf/ that follow others."""

from __future__ import annotations

from omegaconf import OmegaConf


def count_classes(root: str) -> int:
    """Number of classes in a folder of images, for `${classes_in:FOLDER}`; raises as `difflab.data.layout.scan`."""
    from difflab.data.layout import count_classes  # here, as it imports torch

    return count_classes(root)


def product(a: float, b: float) -> float:
    """`a * b`, for a value that follows another: `${product:0.001,${schedule.T}}`."""
    return a * b


def given(condition: object, value: object) -> object:
    """The value where the condition holds, else null: `${given:${teacher.starts},'paradigm=rectified_flow'}`."""
    return value if condition else None


def register_resolvers() -> None:
    """Let OmegaConf know them, by their names in conf/."""
    for name, function in (("given", given), ("classes_in", count_classes), ("product", product)):
        OmegaConf.register_new_resolver(name, function, replace=True)
