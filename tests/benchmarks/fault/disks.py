"""Disks that are full, folders that cannot be written to, shares without locks, and other places."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from filelock import FileLock

from benchmarks.fault.case import WORDS, Case, again, compared, done, in_one_line, last_line
from difflab.experiment.machine import lock
from helpers.jobs import the_run

ROOT = "skipped: needs root"
SIZES = (0.2, 0.4, 0.6, 0.8, 0.95)  # of what the whole run takes on a disk


@contextmanager
def mounted(folder: Path, *words: str) -> Iterator[Path]:
    """A mount at a folder."""
    folder.mkdir()
    subprocess.run(["mount", *words, str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@cache
def whole_size() -> int:
    """The bytes that a finished run takes on a file system in memory, in kB."""
    with tempfile.TemporaryDirectory() as parent, mounted(Path(parent, "d"), "-t", "tmpfs", "tmpfs") as folder:
        done("train", *WORDS, cwd=folder)
        used = os.statvfs(folder)
        return (used.f_blocks - used.f_bfree) * used.f_frsize // 1024


def full(share: float, folder: Path) -> str:
    """Train on a disk that has less room than the run takes; then give it room."""
    if os.geteuid():
        return ROOT
    size = int(share * whole_size())
    with mounted(folder / "d", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs") as disk:
        status, said = done("train", *WORDS, cwd=disk)
        seen = in_one_line(status, said, "No space left on device", "the same command goes on")
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        found = again(disk, *WORDS)
        left = [path for path in disk.rglob(".*") if re.search(r"-\d+$", path.name)]
        return f"{seen}; with room: {found}" + (f", {len(left)} unfinished files" if left else "")


@contextmanager
def colleague(folder: Path) -> Iterator[Path]:
    """A folder that cannot be written to, with a finished run."""
    share = folder / "share"
    share.mkdir()
    done("train", *WORDS, cwd=share)
    with mounted(folder / "ro", "--bind", str(share)) as read_only:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(read_only)], check=True)
        yield read_only


def read_only(command: str, words: tuple[str, ...], way_out: str, folder: Path) -> str:
    """Work in a folder that cannot be written to, and then by the way out that is told."""
    if os.geteuid():
        return ROOT
    with colleague(folder) as share:
        status, said = done(command, *words, cwd=share)
        seen = in_one_line(status, said, "cannot be written to", f"{way_out}=FOLDER")
        seen += ", after some work" if "images" in said and "/" in said.split("images")[0][-12:] else ""
        other = folder / "other"
        status, said = done(command, *words, f"{way_out}={other}", cwd=share)
        seen += f"; with {way_out}=: {status}" + (f" {last_line(said)}" if status else "")
        if command == "evaluate":
            status, said = done("report", f"--runs-dir={other}", f"--out={folder / 'page'}", cwd=share)
            seen += f", report {status}" + (f" {last_line(said)}" if status else "")
        return seen


def without_locks(number: int) -> None:
    """A fault: the file system has no locks."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    vars(fcntl)["flock"] = flock


def no_locks(number: int, folder: Path) -> str:
    """Train on a share without locks."""
    status, said = done("train", *WORDS, cwd=folder, fault=partial(without_locks, number))
    return in_one_line(status, said, "without file locks", "runs_dir=")


def claim(folder: Path) -> Path:
    """The lock of the training that these words ask for."""
    with tempfile.TemporaryDirectory() as other:
        done("train", *WORDS, cwd=Path(other))
        name = the_run(other).folder.name.rpartition("-")[2]
    (folder / "runs").mkdir()
    return folder / "runs" / f".{name}.lock"


def owner_is_dead(held: bool, folder: Path) -> str:
    """Train where another host has left its name, and the server of the share its lock, or not."""
    path = claim(folder)
    who = {"host": "a-host-that-is-gone", "pid": 7, "since": 0.0}
    path.with_suffix(".owner").write_text(json.dumps(who))
    if not held:
        status, said = done("train", *WORDS, cwd=folder)
        return f"{status}, {compared(folder, *WORDS)}"
    with FileLock(path):
        status, said = done("train", *WORDS, cwd=folder, fault=lambda: setattr(lock, "SILENCE", 3.0))
    seen = in_one_line(status, said, "process 7 on a-host-that-is-gone", "no sign of life", f"remove {path.name}"[:6])
    return f"{seen}; then {again(folder, *WORDS)}"


def in_the_way(folder: Path) -> str:
    """Train where `runs` is a file."""
    (folder / "runs").write_text("in the way")
    status, said = done("train", *WORDS, cwd=folder)
    return in_one_line(status, said, "runs is a file", "runs_dir=FOLDER")


def strange_path(folder: Path) -> str:
    """Train below a path with blanks and other letters."""
    strange = folder / "für alle (v2), [1]"
    strange.mkdir()
    return again(strange, *WORDS)


def limited(room: int) -> Callable[[], None]:
    """A fault: the process may have so many more bytes of memory."""

    def fault() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + room
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return fault


def no_memory(folder: Path) -> str:
    """Measure more samples than there is memory for; then with memory."""
    words = (*WORDS, "protocol.n=60000")
    status, said = done("train", *words, cwd=folder, fault=limited(100 << 20))
    seen = in_one_line(status, said, "out of memory", "finished work is kept")
    return f"{seen}; then {again(folder, *WORDS)}"


def clock(step: float) -> Callable[[], None]:
    """A fault: a clock that moves so many seconds at each look."""

    def fault() -> None:
        import time

        now = [1e6]

        def look() -> float:
            now[0] += step
            return now[0]

        for name in ("monotonic", "time", "perf_counter"):
            vars(time)[name] = look

    return fault


def with_clock(step: float, folder: Path) -> str:
    """Train and measure by a clock that is wrong."""
    status, said = done("train", *WORDS, cwd=folder, fault=clock(step))
    return f"{status}, {compared(folder, *WORDS)}" if status == 0 else f"{status}: {last_line(said)}"


def disk_cases() -> Iterator[Case]:
    """Disks that are full, and folders of a colleague."""
    for share in SIZES:
        expected = "1, one line; with room: goes on, equal"
        yield Case(f"a disk with room for {share:.0%} of the run", expected, partial(full, share))
    for command, words, way_out in (
        ("evaluate", ("run=ddpm", "nfe=3", "logger=local"), "out"),
        ("sample", ("run=ddpm", "nfe=3", "n=4"), "out"),
        ("train", (*WORDS, "seed=5"), "runs_dir"),
    ):
        expected = f"1, one line; with {way_out}=: 0" + (", report 0" if command == "evaluate" else "")
        yield Case(f"{command} in a read-only folder", expected, partial(read_only, command, words, way_out))


def place_cases() -> Iterator[Case]:
    """Locks, paths, memory and clocks."""
    for number in (errno.ENOLCK, errno.EOPNOTSUPP):
        yield Case(f"a share without locks, {errno.errorcode[number]}", "1, one line", partial(no_locks, number))
    expected = "1, one line; then goes on, equal"
    yield Case("a lock held for a host that is gone", expected, partial(owner_is_dead, True))
    yield Case("the name of a dead owner without its lock", "0, equal", partial(owner_is_dead, False))
    yield Case("`runs` is a file", "1, one line", in_the_way)
    yield Case("a path with ü, blanks and brackets", "goes on, equal", strange_path)
    yield Case("out of memory", "1, one line; then goes on, equal", no_memory)
    for name, step in (("stands still", 0.0), ("goes back", -0.5)):
        yield Case(f"a clock that {name}", "0, equal", partial(with_clock, step))
