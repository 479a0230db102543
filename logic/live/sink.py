"""Takes what the streams deliver, in the event loop's thread: closed candles to the writer, holes to the healer."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from core.closed_round import ClosedCandle
from core.columns import VALUE_COLUMNS
from core.errors import shortened
from core.finals_due import FinalsDue
from core.instrument import Market
from core.market_data import BookChange, Record
from core.series import Series, brief_list
from core.stream_activity import StreamState
from core.stream_kinds import StreamKind
from core.streams import (
    CandleUpdate,
    ConnectionClosed,
    ConnectionOpened,
    MarketUnusable,
    Seam,
    StreamEvent,
    StreamKey,
    StreamLive,
    StreamSilent,
)
from logic.live.counters import LiveCounters
from logic.live.publishing import LivePublisher
from logic.live.records import LiveRecords
from logic.live.stream_states import StreamStates
from logic.live.tools import LiveSeries
from logic.live.waiting_candles import WaitingCandle, WaitingCandles

_log = logging.getLogger(__name__)

CLOSE = [column.name for column in VALUE_COLUMNS].index("close")
_SHOWN = 3  # frames of each reason that cannot be used


class LiveSink:
    """A `StreamSink` (fetcher/source.py). `heal` is called with series that may lack candles; it returns at once."""

    def __init__(
        self,
        waiting: WaitingCandles,
        records: LiveRecords,
        heal: Callable[[Collection[int]], None],
        market_now_ms: Callable[[Market], int],
        counters: LiveCounters,
        publisher: LivePublisher | None,
    ) -> None:
        self._ids: Mapping[Series, int] = {}
        self._publisher = publisher
        self._waiting, self._records = waiting, records
        self._heal = heal
        self._market_now_ms = market_now_ms
        self._counters = counters
        self._lock = threading.Lock()  # around what other threads read
        self._due = {market: FinalsDue() for market in Market}
        self.states = StreamStates()
        self._newly_silent: dict[str, list[StreamKey]] = {}  # by reason, not said yet
        self._unusable_markets: dict[Market, str] = {}
        self._shown: Counter[str] = Counter()

    def want(self, series: Collection[LiveSeries]) -> None:
        """Take the candles of `series` from now on, and of no others. From any thread."""
        ids = {one.wanted.series: one.id for one in series}
        with self._lock:
            gone = self._ids.keys() - ids.keys()
            for one in gone:
                self._due[one.market].forget(self._ids[one])
            # From now on, live or not: a stream that never delivers is replaced by REST.
            for one in ids.keys() - self._ids.keys():
                self._due[one.market].watch(ids[one], one.interval, self._market_now_ms(one.market))
            self._ids = ids
        self.states.forget([StreamKey.candles_of(one) for one in gone])

    def candle(self, update: CandleUpdate, received_ns: int) -> None:
        """Hand a closed candle to the writer; one that is still open is only counted."""
        self._counters.frames += 1
        if self._publisher is not None:
            self._publisher.candle(update, received_ns)
        series_id = self._ids.get(update.series)
        if not update.is_closed or series_id is None:
            return
        self._counters.finals += 1
        with self._lock:
            self._due[update.series.market].came(series_id, update.open_ms)
        self.states.closed(StreamKey.candles_of(update.series), update.open_ms, str(update.values[CLOSE]))
        candle = ClosedCandle(series_id, update.series, update.open_ms, update.values)
        self._waiting.put(WaitingCandle(candle, received_ns, update.event_ms))

    def record(self, key: StreamKey, record: Record | BookChange, received_ns: int) -> None:
        """Hand a record of another kind to its writer; a change to its order book, which makes a record of it."""
        if isinstance(record, BookChange):
            top = self._records.books.take(key, record, self._market_now_ms(key.market))
            if top is None:
                return
            record = top
        self._records.waiting.put(key, record)
        if self._publisher is not None:
            self._publisher.record(key, record, received_ns)

    def unusable(self, key: StreamKey | None, why: str, frame: bytes) -> None:
        """Count a frame that cannot be read; show the first ones of each reason."""
        self._counters.unusable[why] += 1
        if key is not None:
            self.states.unusable(key)
        self._shown[why] += 1
        if self._shown[why] <= _SHOWN:
            told = shortened(frame[:2_000].decode("utf-8", errors="backslashreplace"))
            _log.warning("a frame of %s cannot be used, %s: %s", key or "an unknown stream", why, told)

    def event(self, event: StreamEvent) -> None:
        """Note what happened to streams and connections."""
        if self._publisher is not None:
            self._publisher.event(event)
        match event:
            case StreamLive(key):
                self._now_live(key)
            case StreamSilent(key, why):
                self.states.went_silent(key, why, self._market_now_ms(key.market))
                with self._lock:
                    self._newly_silent.setdefault(why, []).append(key)
            case Seam(keys, reason):
                series = [key.series for key in keys if key.kind is StreamKind.KLINE and key.series in self._ids]
                self._counters.reconnects[reason.value] += 1
                _log.warning(
                    "%s may have lost frames (%s); what can be had again is asked for", brief_list(keys), reason
                )
                self.states.were_cut(keys)
                self._records.were_cut(keys)
                self._heal([self._ids[one] for one in series])
            case ConnectionOpened(_, connection):
                self._counters.connections += 1
                _log.info("connection %s is open", connection)
            case ConnectionClosed(_, connection, why):
                _log.info("connection %s is closed: %s", connection, why)
            case MarketUnusable(market, why):
                _log.error("streams of market %s cannot be used: %s", market, why)
                with self._lock:
                    self._unusable_markets[market] = why

    def say_silent(self) -> None:
        """Say which streams were found silent since the last time: those of one reason in one line."""
        with self._lock:
            silent, self._newly_silent = self._newly_silent, {}
        for why, keys in silent.items():
            _log.warning("%s: delivers nothing, candles are asked for by REST: %s", brief_list(keys), why)

    def late(self) -> list[int]:
        """Return the series whose newest candle is late now; each is named once for each candle."""
        with self._lock:
            return [one for market, due in self._due.items() for one in due.late(self._market_now_ms(market))]

    @property
    def live(self) -> int:
        """How many series deliver."""
        known = self.states.all().items()
        return sum(key.kind is StreamKind.KLINE and one.state is StreamState.LIVE for key, one in known)

    @property
    def silent(self) -> dict[Series, str]:
        """The series whose stream delivers nothing, with what was tried."""
        known = [(key, one) for key, one in self.states.all().items() if one.state is StreamState.SILENT]
        return {key.series: one.why_silent for key, one in known if key.kind is StreamKind.KLINE}

    @property
    def unusable_markets(self) -> dict[Market, str]:
        """The markets whose streams cannot be used, with the reason."""
        with self._lock:
            return dict(self._unusable_markets)

    def _now_live(self, key: StreamKey) -> None:
        with self._lock:
            self._unusable_markets.pop(key.market, None)
        before = self.states.went_live(key)
        if before.state is StreamState.SILENT:
            _log.info("%s delivers again", key)
        if before.is_cut and key.kind is StreamKind.KLINE and key.series in self._ids:
            self._heal([self._ids[key.series]])  # candles may have closed between the cut and this first frame
