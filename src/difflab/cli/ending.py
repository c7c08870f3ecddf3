"""How commands end: errors of their users in one line, and the statuses of signals. It loads no library."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from difflab.experiment.machine.signals import handled, none_lost, stop
from difflab.experiment.parts.errors import UserError, printable


@contextmanager
def ends_in_one_line(program: str) -> Iterator[None]:
    """End a command with one line for errors of its user, with status 130 after Ctrl-C and 143 after SIGTERM.

    HYDRA_FULL_ERROR=1 gives the whole traceback instead. Where the reader of its output has gone, as `head` has after
    ten lines, it ends without a word and with status 141, as other programs do.
    """
    try:
        with handled(stop, signal.SIGTERM), none_lost():
            yield
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at the end
        raise SystemExit(141) from None
    except UserError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise SystemExit(printable(f"{program}: {error}") if is_first() else 1) from error
    except KeyboardInterrupt:
        if is_first():
            print(f"{program}: stopped; what is done is kept, and the same command goes on", file=sys.stderr)
        raise SystemExit(130) from None


def is_first() -> bool:
    """Whether this is the only process of its job, or the first of those that torchrun or SLURM has started."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "SLURM_PROCID"))
