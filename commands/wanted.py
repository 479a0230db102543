"""Finds out which series a run is about: --symbols, symbols.yml, or the catalog in the database."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from dataclasses import dataclass

from config.settings import Settings
from config.symbols import load_symbols_file, parse_arguments
from core.errors import ConfigurationError
from core.times import parse_time
from core.wanted import Wanted, WantedSeries, resolve
from db.catalog import load_symbols_from_db
from db.connection import Database
from db.migrate import is_migrated
from fetcher.binance.exchange import Exchange

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """--start and --end, epoch ms; None where not given."""

    start_ms: int | None
    end_ms: int | None


def read_time_range(arguments: argparse.Namespace) -> TimeRange:
    """Return --start and --end. Raises ConfigurationError."""
    times: dict[str, int | None] = {}
    for name in ("start", "end"):
        text = getattr(arguments, name)
        try:
            times[name] = parse_time(text) if text is not None else None
        except ValueError as error:
            raise ConfigurationError(f"--{name}: {error}") from error
    start_ms, end_ms = times["start"], times["end"]
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise ConfigurationError("--end is not after --start (the end is exclusive)")
    return TimeRange(start_ms, end_ms)


def read_wanted(arguments: argparse.Namespace, settings: Settings) -> tuple[Wanted | None, bool]:
    """Return what is wanted, and whether it is the whole symbols.yml; None: the catalog decides.

    Reads and checks everything before anything is touched. Raises ConfigurationError.
    """
    times = read_time_range(arguments)
    interval = arguments.interval or settings.default_interval
    start_ms = settings.start_ms if times.start_ms is None else times.start_ms
    end_ms = settings.end_ms if times.end_ms is None else times.end_ms
    if arguments.symbols:
        return parse_arguments(arguments.symbols, interval, start_ms, end_ms), False
    if not settings.symbols_file.exists():
        if settings.symbols_file.name != "symbols.yml":
            raise ConfigurationError(f"SYMBOLS_FILE {settings.symbols_file} does not exist")
        return None, False
    wanted = load_symbols_file(
        settings.symbols_file, settings.default_interval, start_ms, end_ms, interval=arguments.interval
    )
    # A run with options of its own must not rewrite what the catalog keeps of symbols.yml.
    is_whole_file = times == TimeRange(None, None) and arguments.interval is None
    return _with_times(wanted, times), is_whole_file


def resolve_wanted(
    wanted: Wanted | None,
    arguments: argparse.Namespace,
    settings: Settings,
    database: Database | None,
    exchange: Exchange,
) -> list[WantedSeries]:
    """Return the series of the run; patterns are resolved against the exchange's own list.

    Raises ConfigurationError when there are none, ExchangeUnavailable when a list cannot be had.
    """
    if wanted is None:
        found = []
        if database is not None:
            with database.transaction("read the active series from public.symbols") as tx:
                found = load_symbols_from_db(tx) if is_migrated(tx) else []
        if not found:
            raise ConfigurationError(
                f"nothing to do: there is no {settings.symbols_file.name}, and public.symbols has no active series; "
                "write one, or name series with --symbols"
            )
        _log.info("no %s; %d active series in public.symbols", settings.symbols_file.name, len(found))
        times = read_time_range(arguments)
        default = TimeRange(settings.start_ms, settings.end_ms)
        return [_override(one, times, default) for one in found]
    symbols = {
        market: sorted(name for name, facts in exchange.open_market(market, None).items() if not facts.is_pending)
        for market in sorted(wanted.pattern_markets)
    }
    return resolve(wanted, symbols)


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
