"""Which series a backfill is about: --symbols, symbols.yml, or the catalog in the database."""

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
from logic.opening import Database, ExchangeSource
from logic.planning.odd_symbols import report_odd_symbols
from logic.planning.wanted_series import active_series, resolve_patterns

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WantedRequest:
    """What a backfill is asked to fetch."""

    wanted: Wanted | None  # None: the active series of the catalog
    times: TimeRange = field(default_factory=TimeRange)  # given for this run; above those of the catalog
    is_whole_file: bool = False  # it is all of symbols.yml, which the catalog follows


def read_wanted(arguments: argparse.Namespace, settings: Settings) -> WantedRequest:
    """Return what is wanted; reads symbols.yml. Raises ConfigurationError."""
    times = read_time_range(arguments)
    interval = arguments.interval or settings.default_interval
    start_ms = settings.start_ms if times.start_ms is None else times.start_ms
    end_ms = settings.end_ms if times.end_ms is None else times.end_ms
    if arguments.symbols:
        return WantedRequest(parse_arguments(arguments.symbols, interval, start_ms, end_ms), times)
    if not settings.symbols_file.exists():
        if settings.symbols_file.name != "symbols.yml":
            raise ConfigurationError(f"SYMBOLS_FILE {settings.symbols_file} does not exist")
        return WantedRequest(None, times)
    wanted = load_symbols_file(
        settings.symbols_file, settings.default_interval, start_ms, end_ms, interval=arguments.interval
    )
    # A run with options of its own must not rewrite what the catalog keeps of symbols.yml.
    is_whole_file = times.is_unbounded and arguments.interval is None
    return WantedRequest(_with_times(wanted, times), times, is_whole_file)


def resolve_wanted(
    request: WantedRequest,
    settings: Settings,
    database: Database | None,
    exchange: ExchangeSource,
    leaves_traces: bool = True,
) -> list[WantedSeries]:
    """Return the series of the run; patterns are resolved against the exchange's own list.

    Names in that list that cannot be kept are skipped and said, once where the run may leave traces.
    Raises ConfigurationError when there are none, ExchangeUnavailable when a list cannot be had.
    """
    if request.wanted is not None:
        resolved = resolve_patterns(request.wanted, database, exchange)
        report_odd_symbols(resolved.odd_names, settings.state_dir if leaves_traces else None)
        return resolved.series
    found = active_series(database) if database is not None else []
    if not found:
        raise ConfigurationError(
            f"nothing to do: there is no {settings.symbols_file.name}, and public.symbols has no active series; "
            "write one, or name series with --symbols"
        )
    _log.info("no %s; %d active series in public.symbols", settings.symbols_file.name, len(found))
    default = TimeRange(settings.start_ms, settings.end_ms)
    return [_override(one, request.times, default) for one in found]


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
