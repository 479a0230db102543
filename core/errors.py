"""Every error that this project raises on purpose, grouped by what the caller does about it.

There is one class for each action: end the run (`ConfigurationError`, `ExchangeUnavailable`,
`DatabaseUnavailable`), leave this series and go on with the next (`SeriesError`), use another
source (`ArchiveUnavailable`). A locked series is an outcome, not an error.
`exit_code` is the exit code of the process (core/exit_codes.py, docs/commands.md).
"""

from __future__ import annotations

from core.exit_codes import EXIT_DATABASE, EXIT_EXCHANGE, EXIT_FAULT, EXIT_INCOMPLETE, EXIT_USAGE

_LONGEST, _HEAD, _TAIL = 1_000, 600, 300  # characters


def shortened(message: str) -> str:
    """Return `message`, with its middle left out when it is very long, for example because it quotes a bad value.

    Both ends are kept: a message begins with what was tried and ends with what to do next.
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
        """Put `where` before the message. The caller knows what was requested, the code that failed often does not."""
        self.args = (shortened(f"{where}: {self}"),)


class ConfigurationError(FetcherError):
    """A setting, an option or a line of symbols.yml is wrong. Nothing was touched."""

    exit_code = EXIT_USAGE


class DatabaseUnavailable(FetcherError):
    """The database cannot be used at all: connection, credentials, rights, disk. End the run."""

    exit_code = EXIT_DATABASE


class ExchangeUnavailable(FetcherError):
    """A market of the exchange cannot be used: banned, geo-blocked or unreachable. Skip that market."""

    exit_code = EXIT_EXCHANGE


class NoAnswer(ExchangeUnavailable):
    """One request got no answer in all attempts: server faults, or no whole answer.

    Whether the market is away or only this request fails is for the caller to find out.
    """


class ExchangeBanned(ExchangeUnavailable):
    """The exchange has banned this IP address until `until_ms` (epoch ms, exchange's clock)."""

    def __init__(self, message: str, until_ms: int) -> None:
        super().__init__(message)
        self.until_ms = until_ms


class SeriesError(FetcherError):
    """This series cannot be processed (unknown symbol, unusable answers or table). Go on with the next series."""

    exit_code = EXIT_INCOMPLETE


class StatementRefused(SeriesError):
    """A working database refuses one statement: somebody's lock, a right that lacks, too little room for locks.

    What concerns one series leaves it for the next run; what concerns the program's own tables ends the run.
    """

    exit_code = EXIT_DATABASE


class UnusableAnswer(SeriesError):
    """The exchange's answer is invalid (not JSON, wrong fields, unsorted, impossible values)."""


class NoLongerKept(SeriesError):
    """The exchange answers requests about this only for some time, which is over. Use the archives."""


class UnusableFrame(FetcherError):
    """One frame of a live stream cannot be read, or is not what its stream delivers. Leave it out and say so."""


class ArchiveUnavailable(FetcherError):
    """This archive file does not exist or is invalid. Use the next finer source: daily files, then REST."""


class Interrupted(FetcherError):
    """The operator stopped the run. What is committed stays; the next run continues from there."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
