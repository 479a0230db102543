"""A symbol's life at the exchange: when its candles begin, whether and when they ended.

Learned from the exchange and kept in the catalog; what the catalog knows is not asked for again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import ArchiveUnavailable, SeriesError
from core.intervals import Interval, closed_end
from core.plan import SourceChoice
from core.ranges import Span, span_or_none, subtract
from core.series import Series, suggest
from core.symbol_info import SymbolInfo
from core.times import MS_PER_DAY, format_ms
from core.wanted import WantedSeries
from db.catalog import CatalogRow
from fetcher.binance.exchange import Exchange
from logic.planning.archived_listing import find_archived_span
from logic.planning.reused_ticker import find_first_candle, find_relisting, settled_names_notes
from logic.state_files import SeriesState

_log = logging.getLogger(__name__)

UNLISTED = "UNLISTED"
"""The status of a symbol that the exchange's list no longer holds and the archives do. Not the exchange's word."""

# Without a candle for this long, and for this many of its candles, a symbol has ended whatever its status
# says: a market that trades makes candles without trades too (contract section 5).
_LONG_MS = 7 * MS_PER_DAY
_LONG_CANDLES = 3
# Whether a silent symbol has come back is asked this often: its status would not tell.
_ASK_AGAIN_MS = 7 * MS_PER_DAY
# The archives of a symbol's last days can come this late; a slip of eight days was seen (contract section 4).
_ARCHIVES_FINAL_MS = 14 * MS_PER_DAY

_BETWEEN_NOTES = "; "


@dataclass(frozen=True, slots=True)
class KnownLife:
    """What earlier runs learned; all None for an unknown series. Times are epoch ms."""

    listing_ms: int | None = None
    delisting_ms: int | None = None
    status: str | None = None
    note: str | None = None
    silence_asked_ms: int | None = None
    last_candle_ms: int | None = None  # open time of the newest stored candle, where that is known


@dataclass(frozen=True, slots=True)
class SeriesLife:
    """The series at the exchange. Times are epoch ms; `delisting_ms` is the exclusive end of its last candle."""

    listing_ms: int | None
    delisting_ms: int | None
    status: str | None
    note: str | None = None  # what a reader should know, such as a ticker that was used before
    silence_asked_ms: int | None = None  # when it was last asked whether a silent symbol is back; None: not silent


def known_life(row: CatalogRow, state: SeriesState | None = None) -> KnownLife:
    """Return what the catalog knows, and from the state file when the newest stored candle opened.

    The latter only decides whether the exchange is asked if the symbol has ended: a state file that
    is wrong or gone costs two requests or delays that question.
    """
    return KnownLife(
        row.listing_ms,
        row.delisting_ms,
        row.status,
        row.note,
        row.silence_asked_ms,
        state.last_candle_ms if state is not None else None,
    )


def learn_life(
    wanted: WantedSeries,
    facts: Mapping[str, SymbolInfo],
    known: KnownLife,
    covered: Sequence[Span],
    exchange: Exchange,
    choice: SourceChoice,
) -> SeriesLife:
    """Return the life of a series; asks the exchange only for what is not known or may have changed.

    A symbol has ended when its status or its delivery date says so, or when a symbol that is said to
    trade has had no candle for more than 7 days and 3 candles. The latter is asked for (two requests)
    only when more than that is left to fetch behind the newest candle: never in a series that is kept
    up, once at a first run over a longer range. No request is made about an end that is known, covered
    and more than 7 days old while the status stays; whether a silent symbol has come back is asked
    once a week. A symbol that is not in `facts` (the market's list) lives on in its archives, when
    `choice` allows both sources.

    New notes and a new silence are logged as warnings. Raises SeriesError for a symbol that neither the
    list nor the archives know, and ExchangeUnavailable.
    """
    symbol = facts.get(wanted.series.symbol)
    if symbol is None:
        life = _unlisted(wanted, facts, known, covered, exchange, choice)
    elif symbol.is_pending:
        # What is known of an earlier listing is needed when trading begins.
        life = SeriesLife(None, known.delisting_ms, symbol.status, known.note)
    else:
        life = _listed(wanted, symbol, known, covered, exchange, choice)
    _tell_news(wanted.series, life, known)
    return life


def wanted_span(wanted: WantedSeries, life: SeriesLife, now_ms: int) -> Span | None:
    """Return the grid range wanted, inside the symbol's life and the closed candles."""
    if life.listing_ms is None:
        return None
    interval = wanted.series.interval
    start_ms = interval.floor(life.listing_ms)
    if wanted.start_ms is not None:
        start_ms = max(start_ms, interval.ceil(wanted.start_ms))
    end_ms = closed_end(interval, now_ms)
    if life.delisting_ms is not None:
        end_ms = min(end_ms, interval.ceil(life.delisting_ms))
    if wanted.end_ms is not None:
        # An end inside a candle leaves that candle's open time inside the range.
        end_ms = min(end_ms, interval.ceil(wanted.end_ms))
    return span_or_none(start_ms, end_ms)


def _listed(
    wanted: WantedSeries,
    symbol: SymbolInfo,
    known: KnownLife,
    covered: Sequence[Span],
    exchange: Exchange,
    choice: SourceChoice,
) -> SeriesLife:
    series = wanted.series
    trades = symbol.is_trading and not _is_delivered(symbol, exchange.now_ms(series.market))
    listing_ms, note = known.listing_ms, known.note
    if listing_ms is None:
        found = find_first_candle(series, symbol, exchange, choice)
        if found is None:
            raise SeriesError(
                f"{series}: the exchange lists the symbol ({symbol.status}) but has no candle of it by REST; "
                "try again later, or --source archive"
            )
        listing_ms, note = found.first_ms, _noted(note, found.notes)
    elif trades and known.delisting_ms is not None:
        again = find_relisting(series, symbol, known.delisting_ms, exchange)
        if again is not None:
            return SeriesLife(again.first_ms, None, symbol.status, _noted(note, again.notes))
    life = SeriesLife(listing_ms, None, symbol.status, note)
    if trades:
        return _with_silence(wanted, life, known, covered, exchange)
    return _with_end(wanted, life, symbol, known, covered, exchange)


def _is_delivered(symbol: SymbolInfo, now_ms: int) -> bool:
    """Whether the delivery date has passed: it is moved to the time of a delisting (contract section 3)."""
    return symbol.delivery_ms is not None and symbol.delivery_ms <= now_ms


def _with_end(
    wanted: WantedSeries,
    life: SeriesLife,
    symbol: SymbolInfo,
    known: KnownLife,
    covered: Sequence[Span],
    exchange: Exchange,
) -> SeriesLife:
    """Return the life of a symbol that no longer trades, with the end of its last candle."""
    series, now_ms = wanted.series, exchange.now_ms(wanted.series.market)
    if known.status == symbol.status and _is_final(wanted, life, known, covered, now_ms):
        return _ended(life, known.delisting_ms)
    last_ms = exchange.rest(series.market).find_last_candle(series, life.listing_ms)
    if last_ms is not None:
        return _ended(life, _end_of(series.interval, last_ms))
    if known.delisting_ms is not None:
        return _ended(life, known.delisting_ms)
    return _ended(life, symbol.delivery_ms if _is_delivered(symbol, now_ms) else None)


def _with_silence(
    wanted: WantedSeries, life: SeriesLife, known: KnownLife, covered: Sequence[Span], exchange: Exchange
) -> SeriesLife:
    """Return the life of a symbol that is said to trade, with an end when it has had no candle for long."""
    series, now_ms = wanted.series, exchange.now_ms(wanted.series.market)
    asked_ms = known.silence_asked_ms if known.status == life.status else None
    still_silent = SeriesLife(life.listing_ms, known.delisting_ms, life.status, life.note, asked_ms)
    if (
        asked_ms is not None
        and asked_ms <= now_ms < asked_ms + _ASK_AGAIN_MS
        and _is_final(wanted, life, known, covered, now_ms)
    ):
        return still_silent
    whole = wanted_span(wanted, life, now_ms)
    if whole is None or not subtract([whole], covered):
        return life if asked_ms is None else still_silent
    held_until_ms = max(whole.start_ms, _held_until_ms(series.interval, known, covered)) if covered else whole.start_ms
    if not _is_long(series.interval, held_until_ms, whole.end_ms):
        return life
    last_ms = exchange.rest(series.market).find_last_candle(series, life.listing_ms)
    if last_ms is None:
        return life
    end_ms = _end_of(series.interval, last_ms)
    if not _is_long(series.interval, end_ms, closed_end(series.interval, now_ms)):
        return life
    return SeriesLife(life.listing_ms, end_ms, life.status, life.note, now_ms)


def _held_until_ms(interval: Interval, known: KnownLife, covered: Sequence[Span]) -> int:
    """Return up to when candles are held. Coverage alone can run on over slots that have none."""
    last_ms, covered_until_ms = known.last_candle_ms, covered[-1].end_ms
    if last_ms is None or last_ms >= covered_until_ms:
        return covered_until_ms
    return min(_end_of(interval, max(last_ms, covered[0].start_ms)), covered_until_ms)


def _is_final(wanted: WantedSeries, life: SeriesLife, known: KnownLife, covered: Sequence[Span], now_ms: int) -> bool:
    """Whether a known end needs no more asking: more than 7 days ago, and what is wanted is covered up to it."""
    if known.delisting_ms is None or now_ms - known.delisting_ms <= _LONG_MS:
        return False
    whole = wanted_span(wanted, _ended(life, known.delisting_ms), now_ms)
    return whole is None or (bool(covered) and covered[-1].end_ms >= whole.end_ms)


def _unlisted(
    wanted: WantedSeries,
    facts: Mapping[str, SymbolInfo],
    known: KnownLife,
    covered: Sequence[Span],
    exchange: Exchange,
    choice: SourceChoice,
) -> SeriesLife:
    """Return the life of a symbol that the exchange no longer lists, from the catalog or else from the archives."""
    series = wanted.series
    if choice is not SourceChoice.AUTO:
        raise _unknown_symbol(series, facts, "")
    if known.listing_ms is not None and known.delisting_ms is not None:
        life = SeriesLife(known.listing_ms, known.delisting_ms, UNLISTED, known.note)
        now_ms = exchange.now_ms(series.market)
        if known.status == UNLISTED:
            is_known = now_ms - known.delisting_ms > _ARCHIVES_FINAL_MS
        else:
            is_known = _is_final(wanted, life, known, covered, now_ms)
        if is_known:
            return life
    try:
        found = find_archived_span(series, exchange, known.listing_ms)
    except ArchiveUnavailable as error:
        raise _unknown_symbol(series, facts, f", and whether the archives hold it is not known ({error})") from error
    if found is None:
        raise _unknown_symbol(series, facts, ", and the archives hold no file of it")
    notes = settled_names_notes(series, exchange, choice) if known.listing_ms is None else ()
    return SeriesLife(found.start_ms, found.end_ms, UNLISTED, _noted(known.note, notes))


def _unknown_symbol(series: Series, facts: Mapping[str, SymbolInfo], archives: str) -> SeriesError:
    near = suggest(series.symbol, list(facts))
    return SeriesError(
        f"market {series.market} has no symbol {series.symbol}{near}{archives}; correct symbols.yml or --symbols"
    )


def _ended(life: SeriesLife, delisting_ms: int | None) -> SeriesLife:
    return SeriesLife(life.listing_ms, delisting_ms, life.status, life.note)


def _end_of(interval: Interval, open_ms: int) -> int:
    """Return the end of the slot that a candle stands for; some candles open off the grid."""
    return interval.add(interval.floor(open_ms), 1)


def _is_long(interval: Interval, since_ms: int, until_ms: int) -> bool:
    """Whether a stretch without candles is too long for a symbol that trades."""
    candles_ms = interval.add(interval.floor(since_ms), _LONG_CANDLES)
    return until_ms > max(since_ms + _LONG_MS, candles_ms)


def _noted(note: str | None, more: Sequence[str]) -> str | None:
    """Return `note`, also one that somebody wrote by hand, with `more` behind it, each once."""
    return _BETWEEN_NOTES.join(dict.fromkeys([*_notes_in(note), *more])) or None


def _notes_in(note: str | None) -> list[str]:
    return note.split(_BETWEEN_NOTES) if note else []


def _is_new_silence(life: SeriesLife, known: KnownLife) -> bool:
    if life.silence_asked_ms is None:
        return False
    return known.silence_asked_ms is None or (life.delisting_ms, life.status) != (known.delisting_ms, known.status)


def _tell_news(series: Series, life: SeriesLife, known: KnownLife) -> None:
    told = _notes_in(known.note)
    for text in _notes_in(life.note):
        if text not in told:
            _log.warning("%s: %s", series, text)
    if life.status == UNLISTED and known.status != UNLISTED:
        _log.warning("%s: the exchange no longer lists the symbol; only the archives are used", series)
    elif life.delisting_ms is not None and _is_new_silence(life, known):
        _log.warning(
            "%s: no candle since %s although the exchange lists it as %s; "
            "it counts as delisted and is asked about once a week",
            series,
            format_ms(life.delisting_ms),
            life.status,
        )
    elif life.delisting_ms is not None and known.delisting_ms is None:
        _log.info("%s: delisted, its last candle ended %s", series, format_ms(life.delisting_ms))
