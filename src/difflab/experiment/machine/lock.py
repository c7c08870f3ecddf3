"""Locks between processes, also of several hosts that share a file system: who holds one, and for how long to wait."""

from __future__ import annotations

import errno
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from difflab.experiment.parts.errors import UserError

LOOK = 2.0  # seconds that an attempt takes: the processes of a job wait together, and hear of each
SIGN = 15.0  # seconds between two signs of life of the process that holds a lock
SILENCE = 600.0  # seconds without a sign after which waiting ends
NONE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # of file systems without locks


def alone(attempt: Callable[[], bool]) -> bool:
    """What this process finds, for a lock that it holds for itself."""
    return attempt()


@contextmanager
def locked(path: Path, doing: str, decide: Callable[[Callable[[], bool]], bool] = alone) -> Iterator[None]:
    """Hold the lock of a file; while another process holds it, say so and wait.

    `doing` says what the lock is held for, as "runs/a is being trained". With `decide=agreed` the first process of a
    job holds it for all of them. Raises UserError where the file system has no
    locks, and after ten minutes without a sign of life of the other process, whose host may be gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = Attempt(path, doing)
    while not decide(attempt):
        pass
    try:
        with attempt.signs_of_life():
            yield
    finally:
        attempt.lock.release()


def check_lockable(folder: Path) -> None:
    """Raise UserError if files in a folder cannot be locked. Nothing is left there; of a missing folder, its parent."""
    folder = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    with tempfile.TemporaryDirectory(prefix=".difflab-", dir=folder) as place:
        lock = FileLock(Path(place, "lock"))
        try:
            lock.acquire(timeout=LOOK)
            lock.release()
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in NONE:
                raise
            raise without_locks(folder, error) from error


def without_locks(folder: Path, error: Exception) -> UserError:
    """That a file system has no locks, and the way out."""
    return UserError(
        f"{folder} is on a file system without file locks ({error}), by which no two jobs do the same: "
        f"runs_dir=FOLDER keeps runs on another one"
    )


class Attempt:
    """Attempts to take the lock of a file; the first that fails says who has it."""

    def __init__(self, path: Path, doing: str) -> None:
        self.path, self.doing = path, doing
        self.lock = FileLock(path.with_name(f".{path.name}.lock"))
        self.owner = path.with_name(f".{path.name}.owner")
        self.printed, self.sign, self.since = False, 0.0, time.monotonic()

    def __call__(self) -> bool:
        """Whether this process has the lock now, after a short wait. Raises UserError as `locked` does."""
        try:
            self.lock.acquire(timeout=LOOK)
            return True
        except Timeout:
            self.wait()
            return False
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in NONE:
                raise
            raise without_locks(self.path.parent, error) from error

    def wait(self) -> None:
        """Say, once, who has the lock. Raises UserError after ten minutes without a sign of life."""
        if (sign := last_sign(self.owner)) != self.sign:
            self.sign, self.since = sign, time.monotonic()
        if not self.printed:
            print(f"{self.doing} by {named(self.owner)}: waiting for it", flush=True)
            self.printed = True
        if time.monotonic() - self.since > SILENCE:
            raise UserError(
                f"{self.doing} by {named(self.owner)}, which has given no sign of life for "
                f"{SILENCE / 60:.0f} minutes: if it is gone, remove {self.lock.lock_file} and {self.owner}, and give "
                f"the same command again"
            )

    @contextmanager
    def signs_of_life(self) -> Iterator[None]:
        """While this process has the lock, keep a file that shows it, and touch it every few seconds."""
        if not self.lock.is_locked:
            yield
            return
        over = threading.Event()

        def touch() -> None:
            while not over.wait(SIGN):
                with suppress(OSError):
                    os.utime(self.owner)

        who = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        self.owner.write_text(json.dumps(who))
        threading.Thread(target=touch, daemon=True).start()
        try:
            yield
        finally:
            over.set()
            self.owner.unlink(missing_ok=True)


def last_sign(owner: Path) -> float:
    """When the owner gave its last sign of life, by its clock; 0.0 if it gave none."""
    try:
        return owner.stat().st_mtime
    except OSError:
        return 0.0


def named(owner: Path) -> str:
    """Who holds a lock, and since when."""
    try:
        who = json.loads(owner.read_text())
        since = time.strftime("%d %b %H:%M", time.localtime(who["since"]))
        return f"process {who['pid']} on {who['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
