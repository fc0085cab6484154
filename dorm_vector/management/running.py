"""What commands have in common as they run: errors in one sentence, and a bar of progress."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.core.management.base import CommandError
from django.db import DatabaseError

__all__ = ["INTERRUPTED", "one_sentence", "progress_bar"]

# What shells report for Ctrl-C.
INTERRUPTED = 130


@contextmanager
def one_sentence(stopped: str, *errors: type[Exception]) -> Iterator[None]:
    """Raise CommandError for what goes wrong in a block, also for ``errors``, and for Ctrl-C."""
    plain = (FieldError, ImportError, TypeError, ValueError, DatabaseError)
    refused: tuple[type[Exception], ...] = (*plain, *errors)
    try:
        yield
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from error
    except refused as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        raise CommandError(stopped, returncode=INTERRUPTED) from None


@contextmanager
def progress_bar(verbosity: int, **options: Any) -> Iterator[Any]:
    """A bar of tqdm's if somebody sees it and tqdm is installed, or else None."""
    if not verbosity or not sys.stderr.isatty():
        yield None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield None
        return
    with tqdm(**options) as bar:
        yield bar
