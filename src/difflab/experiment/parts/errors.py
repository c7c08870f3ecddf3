"""Errors in what a user wrote, apart from errors in the code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "DefaultCPUAllocator")  # in torch's messages


class UserError(ValueError):
    """What a user can mend: something in the words, the configuration, the files or the machine. One line says it."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise the errors that a check of the user's input may find as `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, OSError, ImportError) as error:
        raise UserError(str(error)) from error
    except (MemoryError, RuntimeError) as error:
        line = str(error).strip().partition("\n")[0]
        if isinstance(error, RuntimeError) and not any(sign in line for sign in OUT_OF_MEMORY):
            raise
        raise UserError(f"out of memory: {line or type(error).__name__}; choose smaller numbers") from error


ODD = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError)


@contextmanager
def made_from(place: object) -> Iterator[None]:
    """A block that makes something of what a stranger's file says.

    Raises ValueError, with the place, also for what values of unexpected types and sizes lead to in the code of others.
    """
    try:
        yield
    except ODD as error:
        raise ValueError(f"{place}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


@contextmanager
def kept() -> Iterator[None]:
    """Raise what may happen to a job at work as `UserError`: numbers that diverge, a full disk, no memory.

    What is done is kept.
    """
    from difflab.paradigm.divergence import Diverged  # torch is loaded by now

    try:
        yield
    except Diverged as error:
        raise UserError(
            f"{error}. Finished work is kept. The same command continues from the last finite state; init=RUN starts "
            f"another training from it, with a lower lr= or precision=fp32. A sampler may need a larger nfe= or "
            f"range=clip"
        ) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise UserError(
            f"{place}{error.strerror or error}; finished work is kept, and the same command continues"
        ) from error
    except (MemoryError, RuntimeError) as error:
        line = str(error).strip().partition("\n")[0]
        if isinstance(error, RuntimeError) and not any(sign in line for sign in OUT_OF_MEMORY):
            raise
        raise UserError(
            f"out of memory: {line or type(error).__name__}; finished work is kept. Free some memory, or choose a "
            f"smaller batch_size= or protocol.n=, which is another job"
        ) from error


def printable(text: str) -> str:
    """A text without the characters that move a terminal's cursor or change its colours; line ends stay."""
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)


def suggestion(word: str, valid: Sequence[str]) -> str:
    """The valid words, and the one that may have been meant."""
    plain = {re.sub(r"[\W_]+", "", each).lower(): each for each in reversed(valid)}  # without case and signs
    close = [plain[found] for found in difflib.get_close_matches(re.sub(r"[\W_]+", "", word).lower(), plain, 1)]
    return f"valid: {', '.join(valid)}" + (f". Did you mean {close[0]!r}?" if close else "")
