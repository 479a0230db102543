"""`backfill --types`: aggregate trades and settled funding rates of the past."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core.errors import ConfigurationError, ExchangeUnavailable, SeriesError
from core.exit_codes import EXIT_INCOMPLETE, EXIT_OK, worst
from core.instrument import Instrument
from core.ranges import Span
from core.sources import AllowedSources
from core.stream_kinds import StreamKind
from core.times import END_OF_TIME_MS
from core.wanted import WantedSeries
from core.wanted_streams import split_by_kind
from db.connection import Database
from db.market_data import StoredRecords
from fetcher.source import ExchangeSource
from logic.live.fundings import FIRST_MS, fetch_archived_fundings, fetch_fundings
from logic.live.trade_history import TradeHistory

PAST_KINDS = (StreamKind.AGG_TRADE, StreamKind.FUNDING_RATE)
"""The kinds besides candles that can be fetched after the event."""


@dataclass(slots=True)
class HistoryResult:
    """What became of one kind of one instrument."""

    kind: StreamKind
    instrument: Instrument
    stored: StoredRecords = field(default_factory=StoredRecords)
    days_there: int = 0  # that were whole already
    missing: dict[str, str] = field(default_factory=dict)  # what could not be fetched, with why
    exit_code: int = EXIT_OK


def fetch_market_history(
    database: Database,
    exchange: ExchangeSource,
    wanted: Sequence[WantedSeries],
    kinds: Sequence[StreamKind],
    allowed: AllowedSources,
    local_now_ms: Callable[[], int],
) -> list[HistoryResult]:
    """Fetch `kinds` of the instruments of `wanted`, each in its range; return the results.

    Raises ConfigurationError (trades without a start, archives without one, kinds that a market does not have),
    DatabaseUnavailable and Interrupted.
    """
    _, keys = split_by_kind(wanted, kinds, ())
    ranges = {key.instrument: _range_of(key.instrument, wanted) for key in keys}
    for key in keys:
        needs_start = key.kind is StreamKind.AGG_TRADE or not allowed.rest
        if needs_start and ranges[key.instrument][0] is None:
            raise ConfigurationError(
                f"{key}: say from when on, --start or start: in symbols.yml; a symbol can have billions of trades"
            )
    results = []
    for key in keys:
        result = HistoryResult(key.kind, key.instrument)
        start_ms, end_ms = ranges[key.instrument]
        try:
            if allowed.rest:
                exchange.open_market(key.market, {key.instrument.symbol})
            until_ms = min(end_ms or END_OF_TIME_MS, exchange.now_ms(key.market))
            if (start_ms or FIRST_MS) >= until_ms:
                raise SeriesError("its range has not begun yet")
            span = Span(start_ms or FIRST_MS, until_ms)
            if key.kind is StreamKind.FUNDING_RATE and not allowed.rest:
                result.stored, result.missing = fetch_archived_fundings(
                    database, exchange.market_data, key.instrument, span
                )
            elif key.kind is StreamKind.FUNDING_RATE:
                result.stored, _ = fetch_fundings(database, exchange.market_data, key.instrument, start_ms or FIRST_MS)
            else:
                trades = TradeHistory(database, exchange.market_data, allowed, local_now_ms)
                found = trades.fetch(key.instrument, span)
                result.stored, result.days_there, result.missing = found.stored, found.days_there, found.missing
        except (SeriesError, ExchangeUnavailable) as error:
            result.missing["all that was left"] = str(error)
            result.exit_code = error.exit_code
        if result.missing or result.stored.conflicts:
            result.exit_code = worst([result.exit_code, EXIT_INCOMPLETE]) if result.exit_code else EXIT_INCOMPLETE
        results.append(result)
    return results


def _range_of(instrument: Instrument, wanted: Sequence[WantedSeries]) -> tuple[int | None, int | None]:
    """Return the range that holds those of all series of an instrument."""
    of_instrument = [one for one in wanted if one.series.instrument == instrument and one.active]
    starts = [one.start_ms for one in of_instrument]
    ends = [one.end_ms for one in of_instrument]
    start_ms = None if None in starts else min(ms for ms in starts if ms is not None)
    return start_ms, None if None in ends else max(ms for ms in ends if ms is not None)


def history_document(results: Sequence[HistoryResult]) -> dict[str, object]:
    """Return the results for JSON."""
    return {
        "exit_code": exit_code_of(results),
        "results": [
            {
                "market": one.instrument.market.value,
                "symbol": one.instrument.symbol,
                "kind": one.kind.value,
                "inserted": one.stored.inserted,
                "already_there": one.stored.equal,
                "conflicts": one.stored.conflicts,
                "days_there": one.days_there,
                "missing": dict(one.missing),
            }
            for one in results
        ],
    }


def exit_code_of(results: Sequence[HistoryResult]) -> int:
    """Return the exit code of a run with these results."""
    return worst([one.exit_code for one in results]) if results else EXIT_OK
