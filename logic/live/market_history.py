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
from core.wanted import WantedSeries
from core.wanted_streams import split_by_kind
from db.connection import Database
from db.market_data import StoredRecords
from fetcher.source import ExchangeSource
from logic.live.fundings import FIRST_MS, fetch_fundings
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

    Raises ConfigurationError (trades without a start, funding rates without REST, kinds that a market does not have),
    DatabaseUnavailable and Interrupted.
    """
    _, keys = split_by_kind(wanted, kinds, ())
    ranges = {key.instrument: _range_of(key.instrument, wanted) for key in keys}
    for key in keys:
        if key.kind is StreamKind.AGG_TRADE and ranges[key.instrument][0] is None:
            raise ConfigurationError(
                f"{key}: say from when on, --start or start: in symbols.yml; a symbol can have billions of trades"
            )
    if StreamKind.FUNDING_RATE in kinds and not allowed.rest:
        raise ConfigurationError("--types funding_rate: settled rates come by REST; leave out --source archive")
    results = []
    for key in keys:
        result = HistoryResult(key.kind, key.instrument)
        start_ms, end_ms = ranges[key.instrument]
        try:
            exchange.open_market(key.market, {key.instrument.symbol})
            if key.kind is StreamKind.FUNDING_RATE:
                result.stored, _ = fetch_fundings(database, exchange.market_data, key.instrument, start_ms or FIRST_MS)
            else:
                span = Span(start_ms or 0, min(end_ms or 2**62, exchange.now_ms(key.market)))
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
