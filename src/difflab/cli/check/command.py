"""`difflab-check`: hold parts to the laws that the tests hold difflab's own to, and place them beside ours."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from difflab.cli.command import words_of
from difflab.cli.ending import ends_in_one_line
from difflab.cli.extensions import outside_of
from difflab.experiment.machine.hardware import keep_heap
from difflab.experiment.parts.errors import user_errors
from difflab.experiment.parts.extensions import installed
from difflab.experiment.parts.search_path import using

if TYPE_CHECKING:
    from difflab.cli.check.laws import Finding
    from difflab.cli.parts import Part

HELP = """\
Hold parts to the laws that every part of their kind satisfies, on exact denoisers and Gaussian data; nothing is trained
or written. Words:

  sampler=heun               one part; sampler=heun,ddim several, and sampler all options of the group
  schedule=vp target=v       parts of other groups: schedule, target, times, weighting, grid, sampler, guidance, range,
                             backbone, data, paradigm
  mypkg                      all parts that the extension mypkg brings, which this switches on
  sampler.eta=0.5            a setting of a part that is named; model.KEY=VALUE is one of a paradigm

Of each part it prints every law as a sentence, whether it holds, the worst case with its error and the error that is
allowed; or why the law does not apply. Of a sampler also the observed order, the counted network evaluations of a step,
and its error at 5, 10 and 20 evaluations beside difflab's samplers of its kind; of a schedule and a grid the error of
three solvers beside difflab's schedules and grids. The order is the one observed: a multistep method that begins with a
step of first order stays at 2, and a sampler whose error does not fall with its steps declares 0.

It takes seconds to a minute for each part, and ends with status 1 if a law fails.
"""


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of how many evaluations a sampler leaves unused."""
    log = logging.getLogger("difflab.sampler.generate")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def check(part: Part) -> list[Finding]:
    """Print the report of a part; return the laws that fail."""
    from difflab.cli.check.facts import FACTS
    from difflab.cli.check.laws import FINDINGS
    from difflab.cli.check.placement import PLACEMENTS
    from difflab.cli.check.report import show

    if part.built is None:
        print(f"\n{part.title} is left out: {'; '.join(part.notes)}")
        return []
    with quiet():
        found = [*FINDINGS[part.group](part)]
        facts = FACTS[part.group](part)
        show(part, facts, found, PLACEMENTS[part.group](part) if part.group in PLACEMENTS else None)
    return [finding for finding in found if finding.fails]


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    program, words = words_of(argv)
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("difflab-check", "%(prog)s GROUP[=OPTION] ...", HELP, formatter_class=shape)
    parser.add_argument("words", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args(words).words
    keep_heap()  # before torch loads
    named_here = ",".join(word for word in chosen if word in installed())
    with ends_in_one_line(program), using(outside_of([*chosen, f"extensions=[{named_here}]"])):
        with user_errors():
            from difflab.cli.parts import parts

            named = parts([word for word in chosen if not word.startswith("extensions=")])
        failed = {part.title: broken for part in named if (broken := check(part))}
    if failed:
        said = "; ".join(f"{title}: {', '.join(each.law for each in broken)}" for title, broken in failed.items())
        raise SystemExit(f"{program}: laws fail. {said}")


if __name__ == "__main__":
    main()
