"""`difflab-train`: train a run, measure it, and print what was found. What is done already is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from difflab.cli.command import Found, main_of, words_of
from difflab.cli.line import Context
from difflab.experiment.machine.hardware import keep_heap

if TYPE_CHECKING:
    from difflab.experiment.jobs import Requested


def train(config: dict[str, Any], context: Context, requested: Requested = "train") -> Found:
    """Train and measure what the configuration says; print what was found, unless that goes into a sweep's table."""
    keep_heap()  # before torch loads
    from difflab.cli.console import show_result
    from difflab.experiment import jobs

    found = jobs.train(config, requested)
    if found and "plan" not in found and not context.multirun:
        show_result(found, context.verbose)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    program, words = words_of(argv)
    main_of(program, "train", words, train)


if __name__ == "__main__":
    main()
