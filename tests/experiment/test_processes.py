"""A job of several processes: they end together, whichever of them or of those that started them is ended."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from difflab.experiment.machine.launch import together
from difflab.experiment.machine.lock import LOOK, locked
from difflab.experiment.machine.processes import agreed
from difflab.experiment.parts.errors import UserError
from difflab.paradigm.batch import place
from helpers.jobs import TOY, finish, job, said_here, the_run, wait_for
from helpers.processes import running

TWO = [torch.device("cpu")] * 2
LONG = [*TOY, "images=640000", "check_every=6400", "protocol.n=0", "trainer.devices=2", "nfe=4"]


def sums(number):
    """What the processes agree on: the first one's number, and how many they are."""
    rank, world = place()
    return {"agreed": agreed(lambda: number + rank), "world": world, "environment": os.environ["A_WORD"]}


def fails_in(rank, how):
    """One process fails in its way, the others wait for it."""
    if place()[0] == rank:
        if how == "refusal":
            raise UserError("there is no such thing")
        if how == "error":
            raise ZeroDivisionError("in the second one")
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.barrier()


def test_the_first_one_decides_and_its_result_is_returned(monkeypatch):
    monkeypatch.setenv("A_WORD", "as it is now")
    assert together(TWO, sums, 5) == {"agreed": 5, "world": 2, "environment": "as it is now"}


@pytest.mark.parametrize(
    ("rank", "how", "said"),
    [
        (0, "refusal", "there is no such thing"),
        (1, "refusal", "there is no such thing"),
        (1, "error", "process 1 of 2 failed: ZeroDivisionError: in the second one"),
        (1, "kill", "process 1 of 2 was ended by SIGKILL"),
    ],
)
def test_one_that_fails_ends_all_with_its_own_reason(rank, how, said, capfd):
    with pytest.raises(UserError, match=said):
        together(TWO, fails_in, rank, how)
    trace = capfd.readouterr().err
    assert ("ZeroDivisionError" in trace) == (how == "error")


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are looked for in /proc")
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_members_save_and_end_when_their_parent_does(tmp_path, signum, status):
    process = job("train", *LONG, cwd=tmp_path, served=True)
    wait_for("runs/*/checkpoints/last.ckpt", tmp_path, process)
    process.send_signal(signum)
    finish(process, status)
    until = time.monotonic() + 60
    while running(tmp_path) and time.monotonic() < until:
        time.sleep(0.1)
    assert not running(tmp_path)
    run = the_run(tmp_path)
    assert run.result is None
    first = torch.load(run.checkpoint, weights_only=True)["global_step"]
    assert first % 100, "it was saved where it was stopped, not at a validation alone"


def waits(path):
    """What a process says that waits, with the others, for a lock."""
    Path(f"{path}.{place()[0]}").touch()
    with contextlib.redirect_stdout(io.StringIO()) as said, locked(Path(path), "a.txt is being written", agreed):
        return said.getvalue()


def test_all_wait_together_for_another_job(tmp_path):
    held, over = threading.Event(), threading.Event()

    def hold():
        with locked(tmp_path / "a.txt", "a.txt is being written"):
            held.set()
            while not over.is_set() and len([*tmp_path.glob("a.txt.[01]")]) < 2:
                time.sleep(0.1)
            over.wait(1.5 * LOOK)  # in which they find that they have to wait

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert together(TWO, place) == [0, 2], "and later ones start at once"
    try:
        assert together(TWO, waits, str(tmp_path / "a.txt")).startswith("a.txt is being written by process")
    finally:
        over.set()
        thread.join()


@pytest.mark.long
def test_a_program_is_not_run_again_by_the_processes_that_it_starts(tmp_path):
    """`multiprocessing` alone would import it in each of them, and refuses one without a guard."""
    (tmp_path / "program.py").write_text(
        "import torch\nfrom difflab.experiment.machine.launch import together\n"
        "from difflab.paradigm.batch import place\n"
        "print('here', together([torch.device('cpu')] * 2, place))\n"
    )
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "here [0, 2]\n", done.stderr


@pytest.mark.long
def test_torchrun_trains_by_the_same_words(tmp_path):
    words = [*TOY, "protocol.n=0", "nfe=4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "difflab"]
    done = subprocess.run(
        [*launch, "train", *words, "trainer.devices=2"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Ctrl-C is safe") == 1, "one of them speaks"
    (tmp_path / "alone").mkdir()
    said_here("train", *words, cwd=tmp_path / "alone")
    ours, theirs = the_run(tmp_path), the_run(tmp_path / "alone")
    assert ours.folder.name == theirs.folder.name
    assert ours.result["loss"] == pytest.approx(theirs.result["loss"], rel=1e-5)


def test_another_number_of_processes_than_devices_is_refused(tmp_path, monkeypatch):
    """Two processes that train one run each, in one folder, is what torchrun would do with trainer.devices=1."""
    for name in ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = said_here("train", *TOY, cwd=tmp_path, status=1)
    assert "processes that were started: 2; that trainer.devices=1 on trainer.num_nodes=1 need: 1" in said
    assert not [*tmp_path.glob("runs/*")]
