"""Keeps settled funding rates current, by REST: no stream has them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from core.archives import month_of
from core.errors import ArchiveUnavailable, ExchangeUnavailable, SeriesError
from core.funding import AGAIN_MS, USUAL_HOURS, next_ask_ms
from core.instrument import Instrument, Market
from core.ranges import Span
from core.stream_kinds import StreamKind
from db.connection import Database
from db.market_data import StoredRecords, newest_funding, store_records, sync_instruments
from db.market_tables import TABLES
from fetcher.source import MarketDataSource

_log = logging.getLogger(__name__)

_SOURCE, _ARCHIVE = "rest", "archive_monthly"
FIRST_MS = 1_498_867_200_000
"""2017-07-01, before the exchange opened."""


def fetch_fundings(
    database: Database, source: MarketDataSource, instrument: Instrument, start_ms: int | None
) -> tuple[StoredRecords, int | None]:
    """Store the settled fundings of an instrument that are new; return what became of them, and the newest one's time.

    From `start_ms` on (epoch ms), or, without it, from behind the newest one that is stored. Raises SeriesError,
    ExchangeUnavailable and DatabaseUnavailable.
    """
    with database.transaction("look for the newest funding") as tx:
        [number] = sync_instruments(tx, [instrument]).values()
        newest_ms = newest_funding(tx, number)
    stored, line = StoredRecords(), TABLES[StreamKind.FUNDING_RATE].line
    next_ms = start_ms if start_ms is not None else FIRST_MS if newest_ms is None else newest_ms + 1
    while page := source.funding_rates(instrument, next_ms):
        with database.transaction("store fundings") as tx:
            stored += store_records(tx, StreamKind.FUNDING_RATE, [line(number, one, _SOURCE) for one in page])
        newest_ms = max(newest_ms or 0, page[-1].time_ms)
        next_ms = page[-1].time_ms + 1
    return stored, newest_ms


def fetch_archived_fundings(
    database: Database, source: MarketDataSource, instrument: Instrument, span: Span
) -> tuple[StoredRecords, dict[str, str]]:
    """Store the settled fundings of the whole months that `span` touches, from the archives alone.

    Return what became of them, and the months that could not be fetched, with why. Raises DatabaseUnavailable.
    """
    with database.transaction("enter the instrument") as tx:
        [number] = sync_instruments(tx, [instrument]).values()
    stored, missing, line = StoredRecords(), dict[str, str](), TABLES[StreamKind.FUNDING_RATE].line
    month = month_of(span.start_ms)
    while month.span.start_ms < span.end_ms:
        try:
            rates = source.archived_funding_rates(instrument, month)
        except ArchiveUnavailable as error:
            missing[month.text] = str(error)
        else:
            with database.transaction("store fundings") as tx:
                lines = [line(number, one, _ARCHIVE) for one in rates]
                stored += store_records(tx, StreamKind.FUNDING_RATE, lines)
        month = month_of(month.span.end_ms)
    return stored, missing


class FundingKeeper:
    """Asks for each instrument's settled rate when it is due. For one thread."""

    def __init__(self, instruments: Sequence[Instrument], market_now_ms: Callable[[Market], int]) -> None:
        self._market_now_ms = market_now_ms
        self._due_ms = dict.fromkeys(instruments, 0)
        self._hours: dict[Market, Mapping[str, int]] = {}

    def want(self, instruments: Sequence[Instrument]) -> None:
        """Ask for the rates of these instruments from now on. From any thread."""
        self._due_ms = {one: self._due_ms.get(one, 0) for one in instruments}

    def due(self) -> list[Instrument]:
        """Return the instruments that are to be asked about now."""
        return [one for one, at_ms in self._due_ms.items() if at_ms <= self._market_now_ms(one.market)]

    def put_off(self, instruments: Sequence[Instrument]) -> None:
        """Ask about these again later: the exchange could not be reached."""
        for one in instruments:
            if self._due_ms.get(one, 2**62) <= (now_ms := self._market_now_ms(one.market)):
                self._due_ms[one] = now_ms + AGAIN_MS

    def fetch(self, database: Database, source: MarketDataSource, instrument: Instrument) -> int:
        """Fetch what is new of an instrument; return how many rates were stored.

        Raises ExchangeUnavailable and DatabaseUnavailable.
        """
        try:
            if instrument.market not in self._hours:
                self._hours[instrument.market] = source.funding_hours(instrument.market)
            stored, newest_ms = fetch_fundings(database, source, instrument, None)
        except ExchangeUnavailable:
            raise
        except SeriesError as error:
            _log.warning("%s: settled funding rates are tried again: %s", instrument, error)
            stored, newest_ms = StoredRecords(), None
        now_ms = self._market_now_ms(instrument.market)
        hours = self._hours.get(instrument.market, {}).get(instrument.symbol, USUAL_HOURS)
        self._due_ms[instrument] = next_ask_ms(newest_ms, hours, now_ms)
        return stored.inserted
