"""Points of a space tried one after the other: how far from the data, at how many network evaluations."""

from __future__ import annotations

import math
import random
import shlex
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from difflab.cli.multirun import COUNTS, attempt
from difflab.cli.search_space import Point, Space, chosen
from difflab.experiment.machine.lock import locked
from difflab.experiment.parts.errors import UserError
from difflab.experiment.store.files import write_json
from difflab.metric.card import digest
from difflab.metric.direction import higher_is_better

Words = tuple[str, ...]  # of a point
AGAIN = "again"  # the mark of a trial of a point that was tried before, and came to nothing
KNOWN = "known"  # and of a proposal that was known, in place of which another was tried


@dataclass(frozen=True)
class Trials:
    """A search of a space by a metric, as far as it has come; `seed` decides which points are proposed."""

    space: Space
    metric: str
    seed: int
    study: optuna.Study

    @classmethod
    def of(cls, space: Space, metric: str, seed: int, storage: str | None, keep: bool) -> Trials:
        """The search, named by what it is, from a file or the URL of a database, else from `search.db` beside the runs.

        A search that is not there is begun; without `keep`, in memory. Raises ValueError for no such database.
        """
        name = f"search-{digest([space.identity, metric, seed])[:12]}"
        place = storage or str(space.runs_dir / "search.db")
        url = place if "://" in place else f"sqlite:///{place}"
        better = StudyDirection.MAXIMIZE if higher_is_better(metric) else StudyDirection.MINIMIZE
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if keep:
            space.runs_dir.mkdir(parents=True, exist_ok=True)
        try:
            study = optuna.create_study(
                storage=url if keep or holds(url, name) else None,
                study_name=name,
                directions=[better, StudyDirection.MINIMIZE],
                load_if_exists=True,
            )
        except SQLAlchemyError as error:
            raise ValueError(f"storage={place}: {str(error).splitlines()[0]}") from error
        return cls(space, metric, seed, study)

    @property
    def name(self) -> str:
        """The name of the search."""
        return self.study.study_name

    @property
    def measured(self) -> list[FrozenTrial]:
        """The first trial of each point that came to something."""
        found: dict[Words, FrozenTrial] = {}
        for trial in self.study.get_trials(states=[TrialState.COMPLETE]):
            found.setdefault(words_of(trial), trial)
        return [*found.values()]

    @property
    def lost(self) -> list[FrozenTrial]:
        """The last trial of each point that came to nothing: it failed, or the search was interrupted in it."""
        measured = {words_of(trial) for trial in self.measured}
        last = {words_of(trial): trial for trial in self.study.trials if KNOWN not in trial.user_attrs}
        return [trial for words, trial in last.items() if words and words not in measured]

    def reachable(self, target: int) -> int:
        """So many points, or all that the space has."""
        return int(min(target, self.space.size))

    def plan(self, target: int) -> None:
        """Say what there is to do for so many measured points, and what is done already."""
        for word in self.space.typed:
            print(f"to choose: {word}")
        done = len(self.measured)
        left = max(0, self.reachable(target) - done)
        print(f"{self.name}: points measured: {done}, left: {left}, to ask again: {len(self.lost)}")

    def until(self, target: int, program: str) -> list[str]:
        """Go on until so many points are measured, or all; show the best, and return which failed, and why."""
        with locked(self.space.runs_dir / self.name, f"{self.name} is being searched"):
            self.go_on(self.reachable(target), program)
            failed = [f"{' '.join(chosen(t.params))}: {t.user_attrs.get('reason', 'interrupted')}" for t in self.lost]
            self.show(failed)
        return failed

    def go_on(self, target: int, program: str) -> None:
        """Try as many points as are left, beginning with those that came to nothing; one that fails stops no other."""
        for interrupted in self.study.get_trials(states=[TrialState.RUNNING]):
            self.study.tell(interrupted.number, state=TrialState.FAIL)
        again = [trial.params for trial in self.lost]
        counts = Counter(dict.fromkeys(COUNTS, 0))
        for k in range(len(self.measured), target):
            trial = self.ask(again.pop(0) if again else None)
            print(f"\npoint {k + 1} of {target}: {' '.join(chosen(trial.params))}", flush=True)
            found, reason = attempt(partial(self.space.measure, trial.params, self.name), program)
            if found:
                counts.update({word: found[0].get(word, 0) for word in COUNTS})
                self.tell(trial, found)
            else:
                self.fail(trial, str(reason))
        print("\n" + ", ".join(f"{count} {word}" for word, count in counts.items()))

    def ask(self, again: Point | None) -> Trial:
        """Begin a trial of a point that is to be tried again, or of one that is new."""
        if again:
            self.study.enqueue_trial(dict(again), user_attrs={AGAIN: True})
        # NSGA-II would draw its first 50 trials blindly, and few searches have many more. The sampler is seeded for
        # each trial, so that a search asks for the same points whether or not it was interrupted.
        tried = [trial for trial in self.study.trials if not {AGAIN, KNOWN} & trial.user_attrs.keys()]
        seed = int(digest([self.seed, len(tried)])[:8], 16)
        self.study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = self.study.ask(dict(self.space.dimensions))
        known = {*map(words_of, tried)}
        if again or self.space.values is None or words_of(trial) not in known or len(known) == self.space.size:
            return trial
        trial.set_user_attr(KNOWN, value=True)
        self.fail(trial, "this point is known")
        self.study.enqueue_trial(unseen(self.space.values, known, random.Random(seed)))
        return self.study.ask(dict(self.space.dimensions))

    def tell(self, trial: Trial, found: Sequence[Mapping[str, Any]]) -> None:
        """End a trial by what was found, in the mean over the seeds of the noise.

        Points that cannot be held against each other end the search, by SystemExit.
        """
        metrics, protocol = found[0]["metrics"], found[0]["protocol"]
        first = self.study.user_attrs.get("protocol", protocol)
        if unlike := [key for key in protocol if protocol[key] != first.get(key)]:
            reason = f"it differs from the points before in {', '.join(unlike)}: they are never ranked together"
            self.fail(trial, reason)
            raise UserError(
                f"{' '.join(chosen(trial.params))}: {reason}; where no word of yours is why, "
                "storage=FILE begins another search, which measures what is there as it is now"
            )
        self.study.set_user_attr("protocol", first)
        trial.set_user_attr("run", found[0]["run"])
        trial.set_user_attr("floor", metrics.get(f"{self.metric}_floor"))
        score = fmean(each["metrics"].get(self.metric, math.nan) for each in found)  # one left out is not a number
        if math.isfinite(score):
            self.study.tell(trial, [score, fmean(each["cost"]["nfe"] for each in found)])
        else:
            self.fail(trial, f"{self.metric} is {score}")

    def fail(self, trial: Trial, reason: str) -> None:
        """End a trial that came to nothing."""
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)

    @property
    def front(self) -> list[dict[str, Any]]:
        """The points than which none is better in both, the cheapest first."""
        best = {words_of(trial): trial for trial in self.study.best_trials}
        return [
            {
                self.metric: trial.values[0],
                f"{self.metric}_floor": trial.user_attrs["floor"],
                "nfe": trial.values[1],
                "words": list(words),
                "run": trial.user_attrs["run"],
                "command": shlex.join(self.space.command(trial.params)),
            }
            for words, trial in sorted(best.items(), key=lambda item: item[1].values[1])
        ]

    def show(self, failed: Sequence[str]) -> None:
        """Print the front, the command of each of its points, and the failures; and write them down."""
        console = Console(width=None if Console().is_terminal else 200)
        front = self.front
        table = Table(self.metric, "floor", "NFE", "by", title=f"the best of {len(self.measured)} points")
        for row in front:
            numbers = (row[self.metric], row[f"{self.metric}_floor"], row["nfe"])
            cells = ("" if number is None else f"{number:.4g}" for number in numbers)
            table.add_row(*cells, escape(" ".join(row["words"])))
        console.print(table)
        for line in (*(row["command"] for row in front), *(f"failed: {each}" for each in failed)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        summary = {"space": self.space.typed, "fixed": self.space.fixed, "measured": len(self.measured)}
        print(write_json(self.space.runs_dir / f"{self.name}.json", {**summary, "failed": failed, "front": front}))


def words_of(trial: Trial | FrozenTrial) -> Words:
    """The words of the point of a trial."""
    return tuple(chosen(trial.params))


def unseen(values: Mapping[str, Sequence[Any]], known: Container[Words], draw: random.Random) -> dict[str, Any]:
    """A point of these values, drawn at random, that is not known; there must be one."""
    while True:
        point = {key: draw.choice(each) for key, each in values.items()}
        if tuple(chosen(point)) not in known:
            return point


def holds(url: str, name: str) -> bool:
    """Whether a database has a search of this name; one that is not there is not made."""
    file = url.removeprefix("sqlite:///")
    return (file == url or Path(file).exists()) and name in optuna.get_all_study_names(url)
