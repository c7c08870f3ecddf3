"""What stands in conf/ as `${NAME:ARGUMENTS}`: values that follow from others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf


def count_classes(root: str) -> int:
    """Number of classes in a folder of images, for `${classes_in:FOLDER}`; raises as `difflab.data.layout.scan`."""
    from difflab.data.layout import count_classes  # here, as it imports torch

    return count_classes(root)


def count_captions(root: str, skip: bool) -> int:
    """Number of captions in a folder of images, for `${captions_in:FOLDER,SKIP}`; raises as `captioned` there."""
    from difflab.data.caption_files import count_captions  # here, as it imports torch

    return count_captions(root, skip)


def by(key: str, values: Mapping[str, object], *, _root_: DictConfig) -> object:
    """The value for the choice that a setting makes: `${by:data.source.labels,{style:3,group:9}}`.

    Raises ValueError for another choice.
    """
    choice = OmegaConf.select(_root_, key)
    if choice not in values:
        raise ValueError(f"{key}={choice}: choose {' or '.join(values)}")
    return values[choice]


def product(a: float, b: float) -> float:
    """`a * b`, for a value that follows another: `${product:0.001,${schedule.T}}`."""
    return a * b


def quotient(a: int, b: int, less: int = 0) -> int:
    """`a // (b - less)`: `${quotient:299,${schedule.T},1}` updates for each of T - 1 levels."""
    return a // (b - less)


def given(condition: object, value: object) -> object:
    """The value where the condition holds, else null: `${given:${teacher.starts},'paradigm=rectified_flow'}`."""
    return value if condition else None


RESOLVERS: Mapping[str, Callable[..., Any]] = {
    "by": by,
    "captions_in": count_captions,
    "classes_in": count_classes,
    "given": given,
    "product": product,
    "quotient": quotient,
}
