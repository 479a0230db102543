"""Every error this project raises on purpose, grouped by what the caller does about it.

One `except` per action: end the run (`ConfigurationError`, `ExchangeUnavailable`,
`DatabaseUnavailable`), leave this series and go on with the next (`SeriesError`), use another
source (`ArchiveUnavailable`). A locked series is an outcome, not an error.
`exit_code` is the number that cron sees (core/exit_codes.py, docs/commands.md).
"""

from __future__ import annotations

from core.exit_codes import EXIT_DATABASE, EXIT_EXCHANGE, EXIT_FAULT, EXIT_INCOMPLETE, EXIT_USAGE

_LONGEST, _HEAD, _TAIL = 1_000, 600, 300  # characters


def shortened(message: str) -> str:
    """Return `message` without the middle of it when it is very long, as where it quotes a nonsensical value.

    What was tried stands at the beginning of our messages, what to do next at the end.
    """
    if len(message) <= _LONGEST:
        return message
    left_out = len(message) - _HEAD - _TAIL
    return f"{message[:_HEAD]} [... {left_out:,} characters ...] {message[-_TAIL:]}"


class FetcherError(Exception):
    """Root of all errors that are raised on purpose."""

    exit_code = EXIT_FAULT

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))

    def prefix(self, where: str) -> None:
        """Put `where` before the message: what was asked for is known further up than what went wrong."""
        self.args = (shortened(f"{where}: {self}"),)


class ConfigurationError(FetcherError):
    """A setting, an option or a line of symbols.yml is wrong. Nothing was touched."""

    exit_code = EXIT_USAGE


class DatabaseUnavailable(FetcherError):
    """The database cannot be used at all: connection, credentials, rights, disk. End the run."""

    exit_code = EXIT_DATABASE


class ExchangeUnavailable(FetcherError):
    """A market of the exchange cannot be used: banned, geo-blocked, unreachable. Leave that market."""

    exit_code = EXIT_EXCHANGE


class ExchangeBanned(ExchangeUnavailable):
    """The exchange has banned this address until `until_ms` (epoch ms, exchange's clock)."""

    def __init__(self, message: str, until_ms: int) -> None:
        super().__init__(message)
        self.until_ms = until_ms


class SeriesError(FetcherError):
    """This series cannot go on (unknown symbol, unusable answers, unusable table). Go on with the next."""

    exit_code = EXIT_INCOMPLETE


class UnusableAnswer(SeriesError):
    """The exchange's answer cannot be trusted (not JSON, wrong fields, unsorted, impossible values)."""


class ArchiveUnavailable(FetcherError):
    """This archive file is not there or cannot be trusted. Use the next finer source."""


class Interrupted(FetcherError):
    """The operator asked the run to stop. What is committed stays; the next run goes on from there."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
