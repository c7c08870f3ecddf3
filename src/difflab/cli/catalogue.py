"""The table of samplers in docs/samplers.md, made from the samplers themselves: `difflab catalogue`."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Sequence

from difflab.experiment.config.compose import nodes_of
from difflab.experiment.parts.build import build
from difflab.sampler.base import Sampler

SOURCE = re.compile(r"[A-Z][\w&,.\- ]+? \d{4} \(arXiv:\d{4}\.\d{5}\)")


def sources(cls: type) -> list[str]:
    """The papers that a class's docstring names, in its order."""
    return SOURCE.findall(" ".join((inspect.getdoc(cls) or "").split()))


def row(option: str, sampler: Sampler) -> str:
    """One line of the table: order, evaluations a step, whether it draws noise, and where it comes from."""
    evaluations = "by tolerance" if sampler.evaluations is None else str(sampler.evaluations)
    noise = "stochastic" if sampler.stochastic else "deterministic"
    return f"| `{option}` | {sampler.order:g} | {evaluations} | {noise} | {sources(type(sampler))[0]} |"


def table() -> str:
    """All options of `sampler=`, in Markdown."""
    rows = [row(option, build(node)) for option, node in nodes_of("sampler").items()]
    head = ["| `sampler=` | order | evaluations a step | | source |", "|--|--|--|--|--|"]
    return "\n".join([*head, *rows])


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("difflab-catalogue", description=__doc__, formatter_class=shape)
    parser.parse_args(argv and argv[1:])
    print(table())


if __name__ == "__main__":
    main()
