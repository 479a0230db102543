"""Which series a backfill is about: --symbols, symbols.yml, or the list in the database."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from dataclasses import dataclass, field

from commands.options import read_time_range
from config.settings import Settings
from config.symbols import load_symbols_file, parse_arguments
from core.errors import ConfigurationError
from core.ranges import TimeRange
from core.wanted import Wanted, WantedSeries
from core.wanted_rows import WantedList
from logic.exchange_opening import ExchangeSource
from logic.opening import Database
from logic.planning.odd_symbols import report_odd_symbols
from logic.planning.wanted_series import listed_series, resolve_patterns

_NAME_SERIES = "write one, or name series with --symbols"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WantedRequest:
    """What a backfill is asked to fetch."""

    wanted: Wanted | None  # None: the list in public.symbols
    times: TimeRange = field(default_factory=TimeRange)  # given for this run; above those of the list
    is_whole_list: bool = False  # it is all of symbols.yml or public.symbols, which the catalog follows
    interval: str = "1m"  # of rows of the list that do not say theirs


def read_wanted(arguments: argparse.Namespace, settings: Settings) -> WantedRequest:
    """Return what is wanted; reads symbols.yml. Raises ConfigurationError."""
    times = read_time_range(arguments)
    interval = arguments.interval or settings.default_interval
    start_ms = settings.start_ms if times.start_ms is None else times.start_ms
    end_ms = settings.end_ms if times.end_ms is None else times.end_ms
    if arguments.symbols:
        return WantedRequest(parse_arguments(arguments.symbols, interval, start_ms, end_ms), times)
    # A run with options of its own must not rewrite what the catalog keeps of the list.
    is_whole_list = times.is_unbounded and arguments.interval is None
    if not settings.symbols_file.exists():
        if settings.symbols_file.name != "symbols.yml":
            raise ConfigurationError(f"SYMBOLS_FILE {settings.symbols_file} does not exist")
        return WantedRequest(None, times, is_whole_list, interval)
    wanted = load_symbols_file(
        settings.symbols_file, settings.default_interval, start_ms, end_ms, interval=arguments.interval
    )
    return WantedRequest(_with_times(wanted, times), times, is_whole_list)


def resolve_wanted(
    request: WantedRequest,
    settings: Settings,
    database: Database | None,
    exchange: ExchangeSource,
    leaves_traces: bool = True,
) -> WantedList:
    """Return the series of the run; patterns are resolved against the exchange's own list.

    Names in that list that cannot be kept are skipped and said, once where the run may leave traces.
    Raises ConfigurationError when there are none, ExchangeUnavailable when a list cannot be had.
    """
    if request.wanted is not None:
        resolved = resolve_patterns(request.wanted, database, exchange)
        report_odd_symbols(resolved.odd_names, settings.state_dir if leaves_traces else None)
        return WantedList(resolved.series)
    no_file = f"there is no {settings.symbols_file.name}"
    if database is None:
        raise ConfigurationError(f"nothing to do: {no_file}, and no list in a database yet; {_NAME_SERIES}")
    try:
        found = listed_series(database, request.interval)
    except ConfigurationError as error:
        raise ConfigurationError(f"nothing to do: {no_file}, and {error}; {_NAME_SERIES}") from error
    for why in found.unusable:
        _log.error("public.symbols, %s; left out", why)
    if not found.series:
        raise ConfigurationError(
            f"nothing to do: {no_file}, and public.symbols has no usable active row; {_NAME_SERIES}"
        )
    _log.info("%s; %d active series in public.symbols", no_file, len(found.series))
    default = TimeRange(settings.start_ms, settings.end_ms)
    return WantedList([_override(one, request.times, default) for one in found.series], found.unusable)


def _with_times(wanted: Wanted, times: TimeRange) -> Wanted:
    """Return `wanted` with the command line's times over the file's."""
    entries = tuple(
        dataclasses.replace(
            one,
            start_ms=one.start_ms if times.start_ms is None else times.start_ms,
            end_ms=one.end_ms if times.end_ms is None else times.end_ms,
        )
        for one in wanted.entries
    )
    return Wanted(entries, wanted.exclude)


def _override(one: WantedSeries, times: TimeRange, default: TimeRange) -> WantedSeries:
    start_ms = next((ms for ms in (times.start_ms, one.start_ms, default.start_ms) if ms is not None), None)
    end_ms = next((ms for ms in (times.end_ms, one.end_ms, default.end_ms) if ms is not None), None)
    return WantedSeries(one.series, start_ms, end_ms, one.active)
