"""The entry point of the commands that Hydra composes: words are parsed once and handed over in one place."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _run_hydra, create_config_search_path, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins  # noqa: F401  # loads the launchers that are installed
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from difflab.cli.ending import ends_in_one_line
from difflab.cli.explain import explanation, unread
from difflab.cli.extensions import outside_of
from difflab.cli.help import text as help_of
from difflab.cli.line import Context, Line
from difflab.cli.loader import Loader
from difflab.cli.multirun import Outcomes, show
from difflab.experiment.config.compose import chosen, plain, register_settings
from difflab.experiment.config.hydra_errors import in_words
from difflab.experiment.config.settings import check_ranges
from difflab.experiment.machine.hardware import claim_accelerators
from difflab.experiment.machine.signals import follow, handled, stop
from difflab.experiment.parts.errors import UserError, user_errors
from difflab.experiment.parts.search_path import conf_dir, using

SILENT = ("cfg", "hydra_help", "shell_completion", "info")  # flags that print something and run no job


Found = dict[str, Any] | None  # plain values; None from a process that has nothing to say
Job = Callable[[dict[str, Any], Context], Found]  # of the plain configuration


def main_of(program: str, name: str, words: Sequence[str], job: Job) -> None:
    """Run a command: print what a flag asks for, or do its job or jobs. Raises SystemExit where that fails."""
    version.setbase("1.3")
    register_settings()
    parser = get_args_parser()
    parser.prog = program
    with ends_in_one_line(program), using(outside_of(words)):
        line = Line.of(program, name, words)
        if "--version" in line.flags:
            print(f"difflab {installed('difflab')}, with Hydra {installed('hydra-core')}")
            return
        flags = parser.parse_args([*line.flags, *line.overrides])
        if flags.help:
            print(help_of(name, line.words))
        elif any(getattr(flags, flag) for flag in SILENT):
            flags.overrides = [] if flags.hydra_help else flags.overrides  # its text does not depend on ours
            _run_hydra(flags, parser, lambda config: None, conf_dir(), name)
        else:
            run(line, job, flags.multirun)


def run(line: Line, job: Job, multirun: bool) -> None:
    """Compose the configuration and do the job, or each job of a multirun. Raises UserError for wrong words."""
    hydra = Hydra(line.program, Loader(create_config_search_path(conf_dir())))
    GlobalHydra.instance().initialize(hydra)
    overrides = [*line.overrides]
    try:
        if reason := unread(line.name, line.overrides):
            raise UserError(reason)
        mode = RunMode.MULTIRUN if multirun or line.swept else RunMode.RUN
        settings = hydra.compose_config(line.name, overrides, mode)
        if not (multirun or settings.hydra.mode == RunMode.MULTIRUN):
            line.check_one_job()
            refused = hydra.run(line.name, functools.partial(single, line, job), overrides).return_value
            if refused:
                raise refused
            return
        if reason := explanation(line.name, line.overrides):  # Hydra would find it job by job
            raise UserError(reason)
        study = line.study(settings)
        print(study, flush=True)
        outcomes = Outcomes.new(Path(str(settings.runs_dir)), study)
        elsewhere = not str(settings.hydra.launcher._target_).endswith("BasicLauncher")
        try:
            with outcomes.stopped_by_signals() if elsewhere else nullcontext():
                hydra.multirun(line.name, functools.partial(one_of_many, line, job, outcomes), overrides)
        finally:
            failed = outcomes.close(line.verbose)
        if failed:
            raise SystemExit(f"{line.program}: {failed} of the jobs failed; the same command goes on with the rest")
    except HydraException as error:
        raise UserError(explanation(line.name, line.overrides) or in_words(error)) from error
    finally:
        GlobalHydra.instance().clear()


def single(line: Line, job: Job, config: DictConfig) -> UserError | None:
    """Do the only job of a command; return the error in what its user wrote, of which Hydra would print more."""
    try:
        described, context = job_of(line, config)
        found = job(described, context)
    except UserError as error:
        return error
    if found and "plan" in found:
        show([{"overrides": context.words, "found": found, "error": None}], line.verbose)
    return None


def one_of_many(line: Line, job: Job, outcomes: Outcomes, config: DictConfig) -> Found:
    """Do a job of a multirun, and write down what it found or why it failed."""
    if os.getpid() == line.process:
        return recorded(line, job, outcomes, config)
    alone = follow(line.process, outcomes.stopping)  # in a launcher's process
    claim_accelerators(config.get("trainer", {}).get("devices", 1))
    try:
        with using(line.outside), handled(stop, signal.SIGTERM):
            return recorded(line, job, outcomes, config)
    finally:
        if alone():  # joblib's worker would wait for another job for ever
            os._exit(128 + signal.SIGTERM)


def recorded(line: Line, job: Job, outcomes: Outcomes, config: DictConfig) -> Found:
    """Do a job of a multirun in a process whose extensions are on already."""
    described, context = job_of(line, config)
    context = replace(context, multirun=True)
    number = int(HydraConfig.get().job.num)
    return outcomes.record(number, context.words, line.program, lambda: job(described, context))


def job_of(line: Line, config: DictConfig) -> tuple[dict[str, Any], Context]:
    """The plain configuration of a job, with the options chosen, the command and the study's name; and its context."""
    composed = HydraConfig.get()
    words: Any = OmegaConf.to_container(composed.overrides.task)  # as typed: `${...}` in them is not resolved
    context = Context(line.program, tuple(words), multirun=False, verbose=line.verbose)
    choices = chosen(OmegaConf.to_container(composed.runtime.choices))
    with user_errors():
        settled = plain(config)
        check_ranges(line.name, settled)
    return described_as(settled, choices, context.command), context


def described_as(config: Mapping[str, Any], choices: Mapping[str, Any], command: str) -> dict[str, Any]:
    """A configuration with the options that were chosen and the command that does it."""
    study = config.get("study") or choices.get("experiment")
    return {**config, "choices": dict(choices), "command": command, "study": study}


def program_of(argv0: str) -> str:
    """The name of the program, also where it was started by `python -m difflab.cli.NAME`."""
    stem = Path(argv0).stem
    return stem if stem.startswith("difflab") else f"difflab-{stem}"


def words_of(argv: Sequence[str] | None) -> tuple[str, list[str]]:
    """The program and the words of a command: those given, or of this process."""
    program, *words = sys.argv if argv is None else argv
    return program_of(program), words
