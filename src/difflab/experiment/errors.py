"""Errors in what a user wrote, apart from errors in the code."""

from __future__ import annotations

from collections.abc import Iterator
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
