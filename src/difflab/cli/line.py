"""The words of a command line: flags, settings, and the settings that have several values."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from difflab.cli.extensions import CONFIG_DIR
from difflab.experiment.config.words import check_words, quoted, spelled
from difflab.experiment.parts.errors import UserError
from difflab.experiment.parts.search_path import Outside, in_full, outside

VERBOSE = ("-v", "--verbose")
VALUED = ("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn")
LISTED = ("--info", "-i")  # whose value may be left out
ASKS = ("-h", "--help", "--hydra-help", "-sc", "--shell-completion")  # flags with which other words may stand alone


def check_flag(word: str) -> None:
    """Raise UserError for a word with dashes that is none of Hydra's flags, nor difflab's."""
    flag, equals, value = word.partition("=")
    known = {option for action in get_args_parser()._actions for option in action.option_strings}
    if flag not in known.union(VERBOSE, CONFIG_DIR, LISTED):
        raise UserError(
            f"{word}: settings are written without dashes, as {flag.lstrip('-')}={value if equals else 'VALUE'}"
        )


@dataclass(frozen=True)
class Context:
    """A job as the command line has it: the program, the job's own words, and whether it is one of many.

    `verbose` asks for all numbers where the first ones are shown.
    """

    program: str
    words: tuple[str, ...]
    multirun: bool
    verbose: bool

    @property
    def command(self) -> str:
        """The command that does this job alone."""
        return shlex.join([self.program, *in_full(self.words)])


@dataclass(frozen=True)
class Study:
    """The jobs of a multirun: what varies, and how many values each of these settings has."""

    factors: Mapping[str, int]

    @property
    def count(self) -> int:
        """How many jobs there are."""
        return math.prod(self.factors.values())

    def __str__(self) -> str:
        of = " x ".join(f"{count} {key}" for key, count in self.factors.items())
        return f"study of {self.count} jobs{', ' * bool(of)}{of}"


@dataclass(frozen=True)
class Line:
    """The words of a command: Hydra's flags, and all others, wherever the flags stand among them."""

    program: str
    name: str  # of conf/NAME.yaml
    flags: tuple[str, ...]
    verbose: bool  # difflab's own flag
    words: tuple[str, ...]  # the others, as they were typed
    overrides: tuple[str, ...]  # the same in Hydra's grammar
    outside: Outside  # the extensions and the folders of options that the words name
    process: int  # that has read them

    @classmethod
    def of(cls, program: str, name: str, words: Sequence[str]) -> Line:
        """Separate flags from the other words, and note which extensions are on.

        Raises UserError for a word that chooses nothing.
        """
        flags: list[str] = []
        others: list[str] = []
        rest, verbose = list(words), False
        while rest:
            word = rest.pop(0)
            if word.startswith("-"):
                check_flag(word)
            if not word.startswith("-"):
                others.append(word)
            elif word in LISTED:  # its optional value must not swallow an override
                flags.append(f"--info={rest.pop(0) if rest and rest[0].isalpha() else 'all'}")
            elif word in VERBOSE:
                verbose = True
            elif word in CONFIG_DIR:
                del rest[:1]
            elif word.partition("=")[0] not in CONFIG_DIR:  # these folders are `outside`
                flags += [word, rest.pop(0)] if word in VALUED and rest else [word]
        if not {*flags} & {*ASKS}:
            check_words(name, others)
        overrides = tuple(spelled(name, word) for word in others)
        return cls(program, name, tuple(flags), verbose, tuple(others), overrides, outside(), os.getpid())

    @property
    def swept(self) -> bool:
        """Whether an override gives several values. Raises HydraException for words that do not parse."""
        return bool(self.sweeps)

    @property
    def sweeps(self) -> list[str]:
        """The overrides that give several values. Raises HydraException for words that do not parse."""
        parsed = OverridesParser.create().parse_overrides([*self.overrides])
        return [str(o.input_line) for o in parsed if o.is_sweep_override()]

    def study(self, settings: DictConfig) -> Study:
        """The jobs that these words ask for, known before any of them is composed."""
        given = {word.partition("=")[0]: word for word in self.sweeps}
        own = settings.hydra.sweeper.get("params") or {}  # of an experiment that is a sweep
        taken = {override.partition("=")[0] for override in self.overrides}
        words = [*given.values(), *(f"{key}={value}" for key, value in own.items() if key not in taken)]
        every = OverridesParser.create().parse_overrides(words)
        return Study({o.key_or_group: len([*o.sweep_iterator()]) for o in every if o.is_sweep_override()})

    def check_one_job(self) -> None:
        """Raise UserError for several values, which are several jobs, or one text that has commas."""
        for word in self.sweeps:
            key, _, value = word.partition("=")
            text = shlex.quote(f"{key}={quoted(value)}")
            raise UserError(
                f"{word} has several values: -m does a job for each; one text with commas is {text}, a list "
                f"{shlex.quote(f'{key}=[{value}]')}"
            )
