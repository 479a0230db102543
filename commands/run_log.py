"""Where log lines go: the rotating file, the terminal or cron's mail; never a secret in any of them."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from core.errors import ConfigurationError

LOG_FILE = "ohlcv_backfill.log"
_FILE_BYTES = 10_000_000
_FILES_KEPT = 5


class SecretFilter(logging.Formatter):
    """Formats a record and hides the secrets in what comes out, tracebacks included."""

    def __init__(self, layout: str, secrets: Iterable[str]) -> None:
        super().__init__(layout, datefmt="%Y-%m-%dT%H:%M:%S%z")
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line to write."""
        return hide(super().format(record), self._secrets)


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with every secret replaced by ***."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


class _LogFile(logging.handlers.RotatingFileHandler):
    """The log file; that it cannot be written, as on a full disk, is said once, and the run goes on."""

    _has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Say what is wrong instead of printing a traceback for each line."""
        if not self._has_failed:
            self._has_failed = True
            print(f"the log file {self.baseFilename} cannot be written: {sys.exc_info()[1]}", file=sys.stderr)


def set_up_logging(
    run_id: str, level: str, secrets: Iterable[str], folder: Path | None, terminal: Console | None
) -> None:
    """Send log lines of `level` and above to stderr, and all down to `level` or INFO to a file in `folder`.

    `terminal` is the console of a progress display, through which lines must pass to keep the bar
    whole; None writes plain lines, as for cron. Raises ConfigurationError when the folder cannot be
    written.
    """
    handlers: list[logging.Handler] = []
    secrets = tuple(secrets)
    plain = f"%(asctime)s %(levelname)s [{run_id}] %(message)s"
    screen: logging.Handler
    if terminal is not None:
        screen = RichHandler(console=terminal, show_path=False, markup=False, highlighter=None)
        screen.setFormatter(SecretFilter("%(message)s", secrets))
    else:
        screen = logging.StreamHandler(sys.stderr)
        screen.setFormatter(SecretFilter(plain, secrets))
    screen.setLevel(level)
    handlers.append(screen)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = _LogFile(folder / LOG_FILE, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"the log folder cannot be written ({error}); set LOG_DIR to one that can"
            ) from error
        file.setFormatter(SecretFilter(plain, secrets))
        file.setLevel(min(logging.getLevelName(level), logging.INFO))
        handlers.append(file)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(min(handler.level for handler in handlers))
    # The HTTP library logs each retry of its own connection pool; ours are enough.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
