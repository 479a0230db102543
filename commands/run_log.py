"""Where log lines go: the rotating file, the terminal or cron's mail; never a secret in any of them."""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.logging import RichHandler

from core.errors import ConfigurationError

LOG_FILE = "ohlcv_backfill.log"
_FILE_BYTES = 10_000_000
_FILES_KEPT = 5


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is logged where."""

    run_id: str  # stands in every plain line
    level: str  # of lines on the screen
    secrets: tuple[str, ...]  # texts that no line may show
    folder: Path | None  # of the log file; None: no file
    file_level: str


class SecretFilter(logging.Formatter):
    """Formats a record and hides the secrets in what comes out, tracebacks included."""

    def __init__(self, layout: str, secrets: Iterable[str]) -> None:
        super().__init__(layout, datefmt="%Y-%m-%dT%H:%M:%S%z")
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line to write."""
        return redact(super().format(record), self._secrets)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with every secret replaced by ***."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


class _LogFile(logging.handlers.RotatingFileHandler):
    """The log file, which several runs may write at once; one of them begins a new file when it is full.

    That it cannot be written, as on a full disk, is said once, and the run goes on.
    """

    _has_failed = False

    def shouldRollover(self, record: logging.LogRecord) -> int:  # noqa: N802 - the standard library's name
        """Whether the file is full; goes on in the new file first where another run has begun one."""
        if self.stream is not None and not _is_file_at(self.stream, self.baseFilename):
            gone, self.stream = self.stream, None  # as FileHandler.close leaves it
            gone.close()
            self.stream = self._open()
        return super().shouldRollover(record)

    def _open(self) -> io.TextIOWrapper:
        """Open the file, in a folder made anew where somebody has removed it."""
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def doRollover(self) -> None:  # noqa: N802 - the standard library's name
        """Begin a new file, unless another run is just doing so, or, on Windows, has this one open."""
        if self.stream is not None:
            self.stream.close()
        full = f"{self.baseFilename}.{os.getpid()}"
        try:
            Path(self.baseFilename).rename(full)
        except OSError:  # go on in the file that is there: a longer one is better than lost lines
            self.stream = self._open()
            return
        for number in range(self.backupCount - 1, 0, -1):
            with suppress(FileNotFoundError):
                Path(f"{self.baseFilename}.{number}").replace(f"{self.baseFilename}.{number + 1}")
        Path(full).replace(f"{self.baseFilename}.1")
        self.stream = self._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Say what is wrong instead of printing a traceback for each line."""
        if not self._has_failed:
            self._has_failed = True
            print(f"the log file {self.baseFilename} cannot be written: {sys.exc_info()[1]}", file=sys.stderr)

    def close(self) -> None:
        """Close the file; what could not be written before cannot be written now either."""
        try:
            super().close()
        except OSError:
            if not self._has_failed:
                raise


def _is_file_at(stream: TextIO, path: str) -> bool:
    if os.name == "nt":  # where a file that is open cannot be renamed
        return True
    try:
        return os.path.samestat(os.fstat(stream.fileno()), Path(path).stat())
    except FileNotFoundError:
        return False


@contextmanager
def logging_to(options: LogOptions, screen: Console) -> Iterator[None]:
    """While the context lasts, send log lines to `screen` and to a file in the log folder, then undo it all.

    On a terminal they pass through `screen`, which keeps a progress bar whole; elsewhere they are plain lines, as
    for cron. Raises ConfigurationError when the folder cannot be written.
    """
    handlers = [_screen_handler(options, screen)]
    if options.folder is not None:
        handlers.append(_file_handler(options, options.folder))
    root, http, sockets = (logging.getLogger(name) for name in ("", "urllib3", "websockets"))
    before = root.level, http.level, sockets.level
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(min(handler.level for handler in handlers))
    http.setLevel(logging.ERROR)  # it logs each retry of its own connection pool; our lines are enough
    sockets.setLevel(logging.WARNING)  # it logs each frame
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(before[0])
        http.setLevel(before[1])
        sockets.setLevel(before[2])


def _screen_handler(options: LogOptions, screen: Console) -> logging.Handler:
    handler: logging.Handler
    if screen.is_terminal:
        handler = RichHandler(console=screen, show_path=False, markup=False, highlighter=None)
        handler.setFormatter(SecretFilter("%(message)s", options.secrets))
    else:
        handler = logging.StreamHandler(screen.file)
        handler.setFormatter(_plain(options))
    handler.setLevel(options.level)
    return handler


def _file_handler(options: LogOptions, folder: Path) -> logging.Handler:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _LogFile(folder / LOG_FILE, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the log folder cannot be written ({error}); set LOG_DIR to one that can") from error
    file.setFormatter(_plain(options))
    file.setLevel(options.file_level)
    return file


def _plain(options: LogOptions) -> SecretFilter:
    return SecretFilter(f"%(asctime)s %(levelname)s [{options.run_id}] %(message)s", options.secrets)
