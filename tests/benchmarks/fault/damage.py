"""Files that are damaged or gone, and numbers that are not finite."""

from __future__ import annotations

import math
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fault.case import HANG, WORDS, Case, at_step, compared, done, last_line, sent, told
from difflab.experiment.training.callback.progress import RunProgress
from experiment import test_not_finite as laws
from helpers.jobs import the_run

NOT_FINITE = "nothing spoilt, as the law says"


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def cut_row(path: Path) -> None:
    """Cut off the first line of a file in its middle."""
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([first[:20], *others]) + "\n")


def stopped_and_damaged(file: str, damage: Callable[[Path], None], word: str, folder: Path) -> str:
    """Stop a training at step 23, damage one of its files, and go on."""
    fault = sent(RunProgress, "on_train_batch_end", signal.SIGTERM, at_step(23))
    before, _ = done("train", *WORDS, cwd=folder, fault=fault)
    damage(the_run(folder).folder / file)
    status, said = done("train", *WORDS, cwd=folder)
    equal = compared(folder, *WORDS) if status == 0 else last_line(said)
    return f"{before}, {told(said, word)}, {status}, {equal}"


def finished_and_damaged(file: str, damage: Callable[[Path], None], folder: Path) -> str:
    """Damage the weights of a finished run that is still to be measured."""
    done("train", *WORDS, "protocol.n=0", cwd=folder)
    damage(the_run(folder).folder / file)
    status, said = done("train", *WORDS, cwd=folder)
    return f"{told(said, 'made again')}, {status}, " + (compared(folder, *WORDS) if status == 0 else last_line(said))


def lawful(law: Callable[..., None], arguments: dict[str, Any], folder: Path) -> str:
    """What a test of the suite finds, in a process of its own."""
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def tried() -> None:
        sys.stdout = sys.stderr = StringIO()
        with pytest.MonkeyPatch.context() as patch:
            known = {"tmp_path": folder, "monkeypatch": patch, "capsys": None, **arguments}
            try:
                law(**{name: known[name] for name in law.__code__.co_varnames[: law.__code__.co_argcount]})
                theirs.send(NOT_FINITE)
            except BaseException as error:
                theirs.send(f"{type(error).__name__}: {error}")

    process = multiprocessing.get_context("fork").Process(target=tried)
    process.start()
    found: str = ours.recv() if ours.poll(HANG) else "hangs"
    process.kill()
    return found


def file_cases() -> Iterator[Case]:
    """A checkpoint, rows, and weights."""
    for name, file, damage, word, equal in (
        ("a flipped bit in last.ckpt", "checkpoints/last.ckpt", flip, "is damaged: the training goes on from", "equal"),
        ("last.ckpt is gone", "checkpoints/last.ckpt", Path.unlink, "", "equal"),
        ("a damaged row of metrics.jsonl", "metrics.jsonl", cut_row, "are gone or damaged", "differs in rows"),
    ):
        yield Case(name, f"143, told, 0, {equal}", partial(stopped_and_damaged, file, damage, word))
    for name, file, damage in (
        ("a flipped bit in the weights", "weights.safetensors", flip),
        ("no weights", "weights.safetensors", Path.unlink),
        ("no JSON of the weights", "weights.json", Path.unlink),
        ("a flipped bit in the JSON of the weights", "weights.json", flip),
    ):
        yield Case(f"{name} of a finished run", "told, 0, equal", partial(finished_and_damaged, file, damage))


def number_cases() -> Iterator[Case]:
    """One number that is not finite, at each place."""
    passed_over = laws.test_steps_that_are_not_finite_are_passed_over_and_counted
    diverges = laws.test_a_training_that_diverges_stops_at_its_last_finite_state_and_goes_on_from_there
    for name, law, arguments in (
        ("one loss is NaN", passed_over, {"steps": (15,), "value": math.nan}),
        ("losses are infinite", passed_over, {"steps": (3, 4, 5, 30), "value": math.inf}),
        ("one gradient is infinite", laws.test_a_gradient_that_is_not_finite_changes_nothing, {}),
        ("all losses are NaN from a step on", diverges, {}),
        ("one weight is NaN", laws.test_weights_that_are_not_finite_are_not_saved, {}),
        ("lr=1e6", laws.test_a_rate_that_is_too_large_leaves_finite_weights_or_no_result, {}),
        ("the held-out loss is NaN", laws.test_a_held_out_loss_that_is_not_finite_is_no_result, {}),
        ("samples are NaN", laws.test_samples_that_are_not_finite_are_not_measured_or_shown, {}),
    ):
        yield Case(name, NOT_FINITE, partial(lawful, law, arguments))
