"""A lock between processes, so that two runs do not create or start the same embedded server."""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import DatabaseUnavailable

_WINDOWS = os.name == "nt"
_ATTEMPTS_ON_WINDOWS = 120  # of ten seconds: as long as the longest start


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, which is made if it is not there. Raises DatabaseUnavailable."""
    file = _open(path)
    try:
        if _WINDOWS:
            lock_on_windows(file, path)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _open(path: Path) -> int:
    if _WINDOWS:
        return os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        return os.open(path, os.O_RDONLY)  # enough for a lock, also on a file that a run by another user made
    except FileNotFoundError:
        pass
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise DatabaseUnavailable(
            f"{path} cannot be made ({error.strerror}): give this user the right to write in {path.parent}, "
            "or set EMBEDDED_PG_DIR to another folder"
        ) from error


def lock_on_windows(file: int, path: Path) -> None:
    """Lock the first byte of `file`. Raises DatabaseUnavailable when another run holds it for too long."""
    msvcrt = importlib.import_module("msvcrt")
    for _ in range(_ATTEMPTS_ON_WINDOWS):
        try:
            msvcrt.locking(file, msvcrt.LK_LOCK, 1)  # gives up by itself after ten seconds
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
        else:
            return
    raise DatabaseUnavailable(f"another run has held {path} for twenty minutes: end it, then run again")
