"""Finds why the exchange has no candle: a halt, a lost record, or a symbol that was delisted and listed again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow.compute as pc

from core.candles import CandleBatch
from core.errors import SeriesError
from core.gaps import Gap, GapStatus, Reason, is_in_no_archive, is_longer_than_any_halt, with_reason
from core.intervals import INTERVALS, Interval
from core.plan import FetchOptions
from core.ranges import Span, subtract
from core.series import Series
from core.times import MS_PER_DAY, MS_PER_HOUR
from db.catalog import CatalogRow, load_catalog
from db.connection import Database, Transaction
from db.gaps import count_judged_halts, load_open_gaps
from db.ledger import load_entries
from db.many_tables import read_many
from db.operations import get_existing_timestamps, sum_traded
from db.schema import table_exists
from logic.series_session import SeriesSession

_log = logging.getLogger(__name__)

_ENOUGH_OTHERS = 5  # with exactly the same gap, each judged by itself
_JUDGED_BY = "candle"  # stands in the note of a halt that longer candles tell, and in no other note
_MAX_OTHERS = 50  # other series of the market to compare with


def explain(session: SeriesSession, options: FetchOptions, gap: Gap) -> Gap:
    """Return a gap that is not at the exchange with its reason, if one can be found; other gaps unchanged.

    Fetches longer candles over the gap by REST. Raises ExchangeUnavailable.
    """
    if gap.status is not GapStatus.NOT_AT_EXCHANGE or gap.reason not in (None, Reason.UNKNOWN):
        return gap
    series = session.series
    reason, note = _reason(session, options, gap)
    if (reason, note) == (gap.reason, gap.reason_note):
        return gap
    if reason is Reason.RELISTED:
        _log.warning("%s: gap %s: %s", series, gap.span, note)
    return with_reason(gap, reason, note, session.exchange_now_ms())


def _reason(session: SeriesSession, options: FetchOptions, gap: Gap) -> tuple[Reason, str]:
    series = session.series
    if is_in_no_archive(gap):
        return Reason.NOT_IN_ARCHIVES, "the archives have later files but none of it; the REST API was not asked"
    if is_longer_than_any_halt(gap, series.interval):
        return Reason.RELISTED, (
            "longer than any halt: the symbol was out of trading and came back; "
            "what follows may be another asset under the same name"
        )
    if (judged_before := _halted_with_others(session, gap)) is not None:
        return judged_before
    longer = _longer(series.interval)
    if longer is not None and options.allowed.rest:
        judged = _by_longer_candles(session, gap, longer)
        if judged is not None:
            return judged
    others = _others(session.database, series, gap.span)
    of_market = f"other stored series of market {series.market}"
    if others.with_candles:
        return Reason.UNKNOWN, f"{others.with_candles} of {others.comparable} {of_market} have candles"
    if others.unreadable:
        return Reason.UNKNOWN, f"{others.unreadable} {of_market} could not be read to compare with"
    if others.comparable:
        return Reason.HALT, (
            f"the {others.comparable} other stored {series.interval} series of market {series.market} lack it too"
        )
    return Reason.UNKNOWN, "neither a longer candle nor another series of the market can tell"


def _halted_with_others(session: SeriesSession, gap: Gap) -> tuple[Reason, str] | None:
    """Return a halt when it was one, by their longer candles, for several other series with exactly the same gap.

    A halt of the whole exchange is judged a few times, not once a series: thousands of series have some forty each.
    """
    with session.database.transaction(f"look for the halt of others at a gap of {session.series}") as tx:
        judged = count_judged_halts(tx, session.series_id, gap.span, _JUDGED_BY)
    if judged < _ENOUGH_OTHERS:
        return None
    return Reason.HALT, f"the same gap in {judged} other {session.series.interval} series, each judged to be a halt"


def _longer(interval: Interval) -> Interval | None:
    """Return an interval to compare with: much longer, and on a grid that fits; None when there is none."""
    step_ms = interval.step_ms
    if step_ms is None or step_ms > MS_PER_DAY:
        return None
    if step_ms < MS_PER_HOUR:
        return INTERVALS["1h"]
    return INTERVALS["1d"] if step_ms < MS_PER_DAY else INTERVALS["1w"]


def _by_longer_candles(session: SeriesSession, gap: Gap, longer: Interval) -> tuple[Reason, str] | None:
    """Return the reason, by the trades that only the longer candles count; None when they cannot be compared."""
    series = session.series
    span = Span(longer.floor(gap.span.start_ms), longer.ceil(gap.span.end_ms))
    with session.database.transaction(f"sum the candles around a gap of {series}") as tx:
        covered = [entry.span for entry in load_entries(tx, session.series_id, session.table, span)]
        others = [one for one in load_open_gaps(tx, session.series_id, span) if one.status is GapStatus.MISSING]
        volume, trades = sum_traded(tx, session.table, span)
    if others or subtract([span], covered):
        return None  # not all shorter candles around the gap are stored
    try:
        candles = session.exchange.fetch_candles(series.of(longer), span)
    except SeriesError as error:
        _log.debug("%s: no longer candles over gap %s: %s", series, gap.span, error)
        return None
    if not candles.rows:
        return Reason.HALT, f"no {longer} candle either"
    more_volume, more_trades = _volume(candles) - volume, pc.sum(candles.columns["trades"]).as_py() - trades
    if more_volume == 0 and more_trades == 0:
        return Reason.HALT, f"the {longer} candles over it hold no trade beyond its {series.interval} candles"
    if more_volume >= 0 and more_trades >= 0:
        return Reason.RECORD_LOST, (
            f"the {longer} candles over it hold {more_trades:,} trades and a volume of {more_volume} "
            f"that its {series.interval} candles lack"
        )
    return Reason.UNKNOWN, f"the {longer} candles over it hold less than its {series.interval} candles"


def _volume(candles: CandleBatch) -> Decimal:
    return sum((Decimal(text) for text in candles.columns["volume"].to_pylist()), Decimal(0))


def _is_alike(one: Series, other: Series) -> bool:
    return (one.exchange, one.market, one.interval) == (other.exchange, other.market, other.interval)


@dataclass(frozen=True, slots=True)
class _Others:
    """How many other series of the market and interval can be compared in a span, and what they have there."""

    comparable: int
    with_candles: int
    unreadable: int  # whose table somebody else holds, or has altered


def _others(database: Database, series: Series, span: Span) -> _Others:
    """Compare with the other series of the market and interval.

    A series without a candle in `span` counts only when its own gaps say that the candles are not at the exchange.
    """
    with database.transaction("look for the other series of the market") as tx:
        alike = [row for row in load_catalog(tx) if row.series != series and _is_alike(row.series, series)]
    rows = {row.series.table_name: row for row in alike[:_MAX_OTHERS]}

    def read(tx: Transaction, tables: Sequence[str]) -> dict[str, tuple[bool, bool]]:
        return {table: _has_or_lacks(tx, rows[table], span) for table in tables if table_exists(tx, table)}

    found, unreadable = read_many(database, [*rows], read)
    for error in unreadable.values():
        _log.info("%s: compared without a series of the market at gap %s: %s", series, span, error)
    has_candles = sum(has for has, _ in found.values())
    return _Others(has_candles + sum(lacks for _, lacks in found.values()), has_candles, len(unreadable))


def _has_or_lacks(tx: Transaction, row: CatalogRow, span: Span) -> tuple[bool, bool]:
    """Return whether a series has candles in `span`, and whether the exchange is known to have none there."""
    if get_existing_timestamps(tx, row.series.table_name, span):
        return True, False
    gaps = load_open_gaps(tx, row.id, span)
    return False, not subtract([span], [gap.span for gap in gaps if gap.status is GapStatus.NOT_AT_EXCHANGE])
