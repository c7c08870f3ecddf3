"""`difflab-evaluate`: measure a run with any sampler, with the protocol beside the numbers.

`run=` names an existing run. Without it the words are those of training, and a missing run is trained first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from difflab.cli.command import Found, main_of, words_of
from difflab.cli.line import Context
from difflab.cli.train import train
from difflab.experiment.machine.hardware import keep_heap


def evaluate(config: dict[str, Any], context: Context) -> Found:
    """Measure the run for each seed of the noise; a measurement with its card is a file, and is made once."""
    keep_heap()  # before torch loads
    from difflab.cli.console import show_evaluation
    from difflab.experiment import jobs

    found = jobs.evaluate(config)
    if found and "plan" not in found and not context.multirun:
        for values, path in zip(found["evaluations"], found["paths"], strict=True):
            show_evaluation(values, context.verbose)
            if not context.verbose:
                print("-v after the same command shows all numbers; they are kept in")
            print(path)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    program, words = words_of(argv)
    of_a_run = any(word.startswith("run=") for word in words) or not any("=" in word for word in words)
    if of_a_run:
        main_of(program, "evaluate", words, evaluate)
    else:
        main_of(program, "train", words, partial(train, requested="evaluate"))


if __name__ == "__main__":
    main()
