"""Errors in what a user wrote, apart from errors in the code."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class UserError(ValueError):
    """Something in the words, the configuration or the files of the user is wrong, and nothing has been done yet."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise the errors that a check of the user's input may find as `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, OSError, ImportError) as error:
        raise UserError(str(error)) from error


def suggestion(word: str, valid: Sequence[str]) -> str:
    """The valid words, and the one that may have been meant."""
    close = difflib.get_close_matches(word, valid, 1)
    return f"valid: {', '.join(valid)}" + (f". Did you mean {close[0]!r}?" if close else "")
