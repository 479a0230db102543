"""Heals gaps in the ids of trades by REST, and says of what is left whether it may still be had."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from core.errors import ExchangeUnavailable, NoLongerKept, SeriesError
from core.id_sequence import IdGap, missing_within
from core.instrument import Instrument
from core.stream_kinds import StreamKind
from db.connection import Database
from db.market_data import store_records
from db.market_tables import TABLES
from db.stream_gaps import GapStatus, StoredGap, settle_gap, trades_within
from fetcher.source import MarketDataSource

_log = logging.getLogger(__name__)

MOST_BY_REST = 1_000_000
"""Trades of one gap that are asked for by REST, a thousand a request; more of them are a matter of archives."""
_SINGLE = "no request gives single trades by their ids; the daily archives have them"
_TOO_MANY = f"more than {MOST_BY_REST:,} trades: backfill --types aggtrade fetches them from the daily archives"
_NOT_THERE = "the exchange has no trades with these ids, asked twice"
_SOURCE = "rest"


class TradeGapHealer:
    """Heals gaps one after the other. For one thread."""

    def __init__(self, local_now_ms: Callable[[], int], is_stopped: Callable[[], bool]) -> None:
        self._local_now_ms = local_now_ms
        self._is_stopped = is_stopped
        self._not_there: set[tuple[int, int, int]] = set()  # what the exchange did not have when it was first asked
        self.healed = 0  # trades that were stored

    def heal(self, database: Database, stored: StoredGap, instrument: Instrument, source: MarketDataSource) -> bool:
        """Heal a gap as far as that goes; return whether that was its last word for now.

        False: it is to be tried again soon. Raises DatabaseUnavailable, ExchangeUnavailable and Interrupted.
        """
        if stored.gap.size > MOST_BY_REST:
            return self._settle(database, stored, [stored.gap], GapStatus.MISSING, _TOO_MANY)
        left = self._left(database, stored)
        if not left:  # trades came out of order
            return self._settle(database, stored, [])
        if stored.kind is not StreamKind.AGG_TRADE:
            return self._settle(database, stored, left, GapStatus.MISSING, _SINGLE)
        try:
            for part in left:
                if not self._fetch(database, stored.instrument_id, instrument, part, source):
                    return False
        except NoLongerKept as error:
            reason = f"{error}; backfill --types aggtrade fetches them from the daily archives"
            return self._settle(database, stored, self._left(database, stored), GapStatus.MISSING, reason)
        except ExchangeUnavailable:
            raise
        except SeriesError as error:
            _log.warning("%s: trades %d to %d: %s", instrument, stored.gap.first_id, stored.gap.last_id, error)
            return False
        left = self._left(database, stored)
        asked = {(stored.instrument_id, part.first_id, part.last_id) for part in left}
        if not asked <= self._not_there:
            self._not_there |= asked
            return False
        self._not_there -= asked
        return self._settle(database, stored, left, GapStatus.LOST, _NOT_THERE)

    def _left(self, database: Database, stored: StoredGap) -> list[IdGap]:
        with database.transaction("look for trades of a gap") as tx:
            return missing_within(stored.gap, trades_within(tx, stored))

    def _settle(
        self,
        database: Database,
        stored: StoredGap,
        left: Sequence[IdGap],
        status: GapStatus = GapStatus.HEALED,
        reason: str = "",
    ) -> bool:
        with database.transaction("note what became of a gap") as tx:
            settle_gap(tx, stored, left, status, reason, self._local_now_ms())
        if left:
            _log.warning(
                "%s trades of instrument %d: %d are %s: %s",
                stored.kind,
                stored.instrument_id,
                sum(part.size for part in left),
                status,
                reason,
            )
        return True

    def _fetch(
        self, database: Database, instrument_id: int, instrument: Instrument, part: IdGap, source: MarketDataSource
    ) -> bool:
        """Fetch and store the trades of `part`; return False when told to stop before the end."""
        next_id, line = part.first_id, TABLES[StreamKind.AGG_TRADE].line
        while next_id <= part.last_id:
            if self._is_stopped():
                return False
            page = source.agg_trades_from(instrument, next_id)
            inside = [trade for trade in page if trade.id <= part.last_id]
            with database.transaction("store trades of a gap") as tx:
                lines = [line(instrument_id, trade, _SOURCE) for trade in inside]
                self.healed += store_records(tx, StreamKind.AGG_TRADE, lines).inserted
            if not inside or len(inside) < len(page):
                return True
            next_id = inside[-1].id + 1
        return True
