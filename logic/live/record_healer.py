"""Brings by REST what streams of other kinds do not: trades that did not come, and settled funding rates."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from core.errors import DatabaseUnavailable, FetcherError, Interrupted, SeriesError
from core.instrument import Instrument
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from core.times import MS_PER_MINUTE, MS_PER_SECOND
from db.connection import Database
from db.market_data import sync_instruments
from db.market_tables import ID_COLUMNS
from db.stream_gaps import StoredGap, load_missing
from fetcher.source import ExchangeSource
from logic.live.counters import LiveCounters
from logic.live.fundings import FundingKeeper
from logic.live.tools import LiveTools
from logic.live.trade_gaps import TradeGapHealer

_log = logging.getLogger(__name__)

_TICK_MS = 1 * MS_PER_SECOND
_SETTLES_MS = 2 * MS_PER_SECOND  # trades may come out of order
_AGAIN_MS = 1 * MS_PER_MINUTE
_NEVER_MS = 2**62
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 1_000, 60_000

_GapKey = tuple[int, StreamKind, int, int]


class RecordHealer:
    """The healer's work, for a thread of its own."""

    def __init__(
        self, keys: Sequence[StreamKey], tools: LiveTools, counters: LiveCounters, stopping: threading.Event
    ) -> None:
        self._keys, self._tools, self._counters, self._stopping = keys, tools, counters, stopping
        funded = [key.instrument for key in keys if key.kind is StreamKind.FUNDING_RATE]
        self._fundings = FundingKeeper(funded, tools.clocks.now_ms)
        self._gaps = TradeGapHealer(tools.local_now_ms, lambda: self._stopping.is_set() and not self._is_finishing)
        self._next_ms: dict[_GapKey, int] = {}  # when a gap is tried again
        self._is_finishing = False
        self._since_ms = tools.local_now_ms()
        self.gaps_left = 0  # of those that were found since the start: missing, tried or not

    def want(self, keys: Sequence[StreamKey]) -> None:
        """Keep these streams complete from now on. From any thread."""
        self._keys = keys
        self._fundings.want([key.instrument for key in keys if key.kind is StreamKind.FUNDING_RATE])

    def run(self) -> None:
        """Heal what is due until stopped, also across losses of the database."""
        pause_ms = _FIRST_PAUSE_MS
        while not self._stopping.is_set():
            try:
                with self._tools.open_database() as database:
                    while not self._stopping.is_set():
                        self.heal_due(database)
                        pause_ms = _FIRST_PAUSE_MS
                        self._stopping.wait(self._tools.seconds(_TICK_MS))
            except (
                DatabaseUnavailable,
                SeriesError,
            ) as error:  # a SeriesError: a table is locked
                _log.error("trades that did not come wait for the database: %s", error)
                self._stopping.wait(self._tools.seconds(pause_ms))
                pause_ms = min(2 * pause_ms, _LONGEST_PAUSE_MS)

    def finish(self, database: Database) -> None:
        """After the end: heal once more, all that may still be had. Raises DatabaseUnavailable and Interrupted."""
        self._is_finishing = True
        self._next_ms = {one: at_ms for one, at_ms in self._next_ms.items() if at_ms == _NEVER_MS}
        for _ in range(2):  # what the exchange does not have is asked for twice
            self.heal_due(database, settles_ms=0, again_ms=0)
        self._due_gaps(database, settles_ms=0)  # counts what is left

    def heal_due(self, database: Database, settles_ms: int = _SETTLES_MS, again_ms: int = _AGAIN_MS) -> None:
        """Heal gaps that are due, and ask for fundings that are. Raises DatabaseUnavailable and Interrupted."""
        if not self._keys:
            return
        gaps = self._due_gaps(database, settles_ms)
        funded = self._fundings.due()
        if not gaps and not funded:
            return
        instruments = [*gaps.values(), *funded]
        try:
            with self._tools.open_exchange() as exchange:
                self._open_markets(exchange, instruments)
                for stored, instrument in gaps.items():
                    is_done = self._gaps.heal(database, stored, instrument, exchange.market_data)
                    self._next_ms[_key_of(stored)] = _NEVER_MS if is_done else self._tools.local_now_ms() + again_ms
                for instrument in funded:
                    self._counters.fundings += self._fundings.fetch(database, exchange.market_data, instrument)
        except (DatabaseUnavailable, Interrupted):
            raise
        except FetcherError as error:
            _log.error("%d gaps of trades and %d fundings are tried again: %s", len(gaps), len(funded), error)
            for stored in gaps:
                if self._next_ms.get(_key_of(stored)) != _NEVER_MS:
                    self._next_ms[_key_of(stored)] = self._tools.local_now_ms() + again_ms
            self._fundings.put_off(funded)
        self._counters.trades_healed = self._gaps.healed

    def _due_gaps(self, database: Database, settles_ms: int) -> dict[StoredGap, Instrument]:
        now_ms, keys = self._tools.local_now_ms(), self._keys
        due: dict[StoredGap, Instrument] = {}
        with database.transaction("look for trades that did not come") as tx:
            ids = sync_instruments(tx, [key.instrument for key in keys])
            instruments = {number: instrument for instrument, number in ids.items()}
            found: list[StoredGap] = []
            for kind in ID_COLUMNS:
                wanted = [ids[key.instrument] for key in keys if key.kind is kind]
                found += load_missing(tx, kind, wanted) if wanted else []
        for stored in found:
            next_ms = self._next_ms.get(_key_of(stored), 0)
            if next_ms <= now_ms and stored.found_ms + settles_ms <= now_ms:
                due[stored] = instruments[stored.instrument_id]
        self.gaps_left = sum(stored.found_ms >= self._since_ms for stored in found)
        return due

    def _open_markets(self, exchange: ExchangeSource, instruments: Sequence[Instrument]) -> None:
        for market in {one.market for one in instruments}:
            exchange.open_market(market, {one.symbol for one in instruments if one.market is market})
        self._tools.clocks.take(exchange)


def _key_of(stored: StoredGap) -> _GapKey:
    return stored.instrument_id, stored.kind, stored.gap.first_id, stored.gap.last_id
