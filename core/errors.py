"""Every error this project raises on purpose, grouped by what the caller does about it.

One `except` per action: end the run (`ConfigurationError`, `ExchangeUnavailable`,
`DatabaseUnavailable`), leave this series and go on with the next (`SeriesError`), use another
source (`ArchiveUnavailable`). A series that another run holds is no error but an outcome (`EXIT_LOCKED`).
`exit_code` is the number that cron sees; the table stands in the README.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3
EXIT_LOCKED = 4
EXIT_EXCHANGE = 5
EXIT_DATABASE = 6


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
