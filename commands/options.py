"""Options that several commands share, from the text of the command line to checked values."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from enum import StrEnum

from config.settings import Settings
from config.symbols import parse_arguments
from core.errors import ConfigurationError
from core.ranges import TimeRange
from core.stream_kinds import StreamKind
from core.times import parse_time
from core.wanted import Wanted
from core.wanted_streams import parse_kinds

_DURATION = re.compile(r"(\d+)\s*([smhd])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Verbosity(StrEnum):
    """How much is said."""

    NORMAL = "normal"
    VERBOSE = "verbose"
    QUIET = "quiet"  # only what needs a person


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How a command tells its result."""

    json: bool = False
    verbosity: Verbosity = Verbosity.NORMAL

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is said when all is well."""
        return self.verbosity is Verbosity.QUIET

    @property
    def is_verbose(self) -> bool:
        """Whether every detail is said."""
        return self.verbosity is Verbosity.VERBOSE


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command has."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, logs on stderr")
    verbosity = parser.add_mutually_exclusive_group()
    verbosity.add_argument("--verbose", action="store_true", help="every detail; a line for every committed chunk")
    verbosity.add_argument("--quiet", action="store_true", help="only what needs you; nothing when all is well")


def add_symbols_option(parser: argparse.ArgumentParser) -> None:
    """Add --symbols for a command on what is stored."""
    parser.add_argument("--symbols", nargs="+", metavar="S", help="only these series, such as BTCUSDT/1h or '*USDT'")


def add_range_options(parser: argparse.ArgumentParser, start: str = "", end: str = "") -> None:
    """Add --start and --end; `start` and `end` say what holds where they are not given."""
    parser.add_argument("--start", metavar="D", help=f"ISO date or time, UTC{start}")
    parser.add_argument("--end", metavar="D", help=f"ISO date or time, UTC, exclusive{end}")


def read_output(arguments: argparse.Namespace) -> OutputOptions:
    """Return how to tell the result."""
    if arguments.quiet:
        return OutputOptions(arguments.json, Verbosity.QUIET)
    return OutputOptions(arguments.json, Verbosity.VERBOSE if arguments.verbose else Verbosity.NORMAL)


def read_time_range(arguments: argparse.Namespace) -> TimeRange:
    """Return --start and --end. Raises ConfigurationError."""
    start_ms, end_ms = _time("--start", arguments.start), _time("--end", arguments.end)
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise ConfigurationError("--end is not after --start (the end is exclusive)")
    return TimeRange(start_ms, end_ms)


def read_stored_series(arguments: argparse.Namespace, settings: Settings) -> Wanted | None:
    """Return which of the stored series are meant; None: all. Raises ConfigurationError."""
    if not arguments.symbols:
        return None
    return parse_arguments(arguments.symbols, settings.default_interval, None, None)


def _time(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}") from error


def read_kinds(text: str | None) -> tuple[StreamKind, ...] | None:
    """Return the kinds of live data of `--types`, or None without it. Raises ConfigurationError."""
    if text is None:
        return None
    try:
        return parse_kinds(text)
    except ValueError as error:
        raise ConfigurationError(f"--types: expected {error}, not {text!r}") from error


def read_duration(text: str | None) -> float | None:
    """Return the seconds of `--for`; None where it was not given. Raises ConfigurationError."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise ConfigurationError(f"--for: expected a time such as 90s, 55m, 12h or 7d, not {text!r}")
    return float(int(found[1]) * _UNITS_S[found[2]])
