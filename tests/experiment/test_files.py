"""Files that are whole or not there, and locks that say who holds them."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from difflab.experiment.machine import lock
from difflab.experiment.machine.lock import locked
from difflab.experiment.parts.errors import UserError
from difflab.experiment.store.files import atomic, check_writable, write_json, write_text


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = write_text(tmp_path / "deep" / "a.txt", "before")

    def fail():
        with atomic(path) as unfinished:
            unfinished.write_text("half of it")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "before"
    assert [*path.parent.iterdir()] == [path]


def test_what_a_killed_process_left_unfinished_is_removed_and_what_another_writes_is_not(tmp_path):
    script = f"""
import os, signal
from pathlib import Path
from difflab.experiment.store.files import atomic
with atomic(Path("{tmp_path}/a.txt")) as unfinished:
    unfinished.write_text("half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    (left,) = tmp_path.iterdir()
    alive = tmp_path / f".a.txt.{socket.gethostname()}-{os.getppid()}"
    elsewhere = tmp_path / ".a.txt.another-host-7"
    for path in (alive, elsewhere):
        path.write_text("being written")
    write_text(tmp_path / "a.txt", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.txt", alive.name, elsewhere.name])
    assert not left.exists()
    os.utime(elsewhere, (0, 0))
    write_text(tmp_path / "a.txt", "again")
    assert not elsewhere.exists(), "a day later no host is still writing it"


def test_json_holds_finite_numbers_alone(tmp_path):
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "a.json", {"loss": [1.0, value]})
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_cannot_be_written_to_is_told_with_the_way_out(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ValueError, match=r"runs is a file, where a folder should be: give another"):
        check_writable(tmp_path / "runs", "give another")
    with pytest.raises(ValueError, match=r"runs is a file, where a folder should be: give another"):
        check_writable(tmp_path / "runs" / "deeper", "give another")
    check_writable(tmp_path / "new" / "deep", "give another")
    assert not [*(tmp_path / "new" / "deep").iterdir()]


def hold(path, held, over):
    with locked(path, "a.txt is being written"):
        held.set()
        over.wait()


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """The lock of a.txt, which a thread holds until it is asked to end."""
    monkeypatch.setattr(lock, "LOOK", 0.05)
    monkeypatch.setattr(lock, "SIGN", 0.05)
    held, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold, args=(tmp_path / "a.txt", held, over))
    thread.start()
    held.wait()
    yield over
    over.set()
    thread.join()
    assert not (tmp_path / ".a.txt.owner").exists()


def test_who_waits_says_for_whom_and_then_goes_on(tmp_path, holder, capsys):
    threading.Timer(0.5, holder.set).start()
    with locked(tmp_path / "a.txt", "a.txt is being written"):
        pass
    said = capsys.readouterr().out
    assert said.startswith(f"a.txt is being written by process {os.getpid()} on {socket.gethostname()} since ")
    assert said.count("waiting for it") == 1


def test_who_gives_signs_of_life_is_waited_for_and_who_gives_none_is_not(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(lock, "SILENCE", 0.5)
    threading.Timer(1.5, holder.set).start()  # three times as long, with a sign each 0.05 s
    with locked(tmp_path / "a.txt", "a.txt is being written"):
        pass
    with locked(tmp_path / "b.txt", "b.txt is being written"):
        monkeypatch.setattr(lock.os, "utime", lambda path: None)  # from here on none comes
        (tmp_path / ".b.txt.owner").write_text(json.dumps({"host": "gone", "pid": 7, "since": time.time()}))
        with (
            pytest.raises(UserError, match=r"by process 7 on gone since .*: if it is gone, remove .*\.b\.txt\.lock"),
            locked(tmp_path / "b.txt", "b.txt is being written"),
        ):
            pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_with_the_way_out(tmp_path, monkeypatch, code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(UserError, match=rf"{tmp_path} is on a file system without file locks .*runs_dir="),
        locked(tmp_path / "a.txt", "a.txt is being written"),
    ):
        pass
