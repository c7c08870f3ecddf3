"""`difflab-search`: look for the settings that bring samples nearest to the data at the fewest network evaluations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields

from omegaconf import OmegaConf, ValidationError

from difflab.cli.command import words_of
from difflab.cli.ending import ends_in_one_line
from difflab.cli.extensions import outside_of
from difflab.experiment.config.words import spelled
from difflab.experiment.machine.hardware import keep_heap
from difflab.experiment.parts.errors import user_errors
from difflab.experiment.parts.search_path import import_extensions, using

HELP = """\
Look for the settings that bring samples nearest to the data at the fewest network evaluations. The words are those of
difflab-train. Some of them leave a choice, in Hydra's grammar; these are the space that is searched:

  sampler=ddim,heun                     one of them
  nfe=range(4,65)                       4, 5, .., 64; by tens: range(4,65,10); evenly by logarithm: tag(log,range(4,65))
  lr=tag(log,interval(1e-4,1e-2))       any number between
  backbone.width=int(interval(16,65))   any whole number: 16, .., 64

Settings of the search, with their defaults, as KEY=VALUE:

  trials=30           points to measure in all; with more of them the search goes on
  metric=fd_lite0     the score to hold against the counted evaluations; of points in the plane w2
  search_seed=0       of the points that optuna proposes
  storage=            a file, or the URL of a database; else RUNS_DIR/search.db
  dry_run=false       say what there is to do, and what is done already, and do nothing

Each point is one difflab-evaluate: what is trained or measured already is found again. It ends with the points than
which none is better in both, and writes them to RUNS_DIR/search-NAME.json. The same command goes on where it stopped,
and tries again what failed.
"""


@dataclass(frozen=True)
class Settings:
    """The words of the search itself."""

    trials: int = 30
    metric: str = "fd_lite0"
    search_seed: int = 0
    storage: str | None = None
    dry_run: bool = False

    @classmethod
    def of(cls, words: Sequence[str]) -> Settings:
        """What the words say. Raises ValueError for values of a wrong type, and for a metric that is no score."""
        try:
            given = OmegaConf.merge(OmegaConf.structured(cls), OmegaConf.from_dotlist([*words]))
        except ValidationError as error:
            raise ValueError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
        from difflab.metric.direction import higher_is_better

        settings = OmegaConf.to_object(given)
        assert isinstance(settings, cls)
        if settings.trials < 1:
            raise ValueError(f"trials={settings.trials}: at least one")
        higher_is_better(settings.metric)
        return settings


def search(words: Sequence[str], program: str) -> list[str]:
    """Search, or print with `dry_run` what there is to do; return the points that failed, and why."""
    with user_errors():
        import_extensions()
        from difflab.cli.search_space import Space
        from difflab.cli.search_study import Trials

        own = [word for word in words if word.partition("=")[0] in {field.name for field in fields(Settings)}]
        settings = Settings.of(own)
        space = Space.of([spelled("train", word) for word in words if word not in own])
        space.dry_run(settings.metric)
        trials = Trials.of(space, settings.metric, settings.search_seed, settings.storage, not settings.dry_run)
    if settings.dry_run:
        trials.plan(settings.trials)
        return []
    return trials.until(settings.trials, program)


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    program, words = words_of(argv)
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("difflab-search", "%(prog)s KEY=VALUE ...", HELP, formatter_class=shape)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--config-dir", action="append", default=[], help="a folder of options beside difflab's own")
    options = parser.parse_intermixed_args(words)
    keep_heap()  # before torch loads
    added = [f"--config-dir={folder}" for folder in options.config_dir]
    with ends_in_one_line(program), using(outside_of([*options.words, *added])):
        failed = search(options.words, program)
    if failed:
        raise SystemExit(f"{program}: {len(failed)} of the points failed; the same command tries them again")


if __name__ == "__main__":
    main()
