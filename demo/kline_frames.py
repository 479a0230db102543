"""Frames of a kline stream: the candle while it is open, and once more when it has closed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from core.instrument import Market
from core.series import Series
from demo.candle_path import in_progress, trades_before
from demo.candle_rows import CandleRows, Row
from demo.candle_store import CandleStore
from demo.futures_keys import pair_of
from demo.grids import grid_of
from demo.stream_frames import StreamFrame
from demo.stream_names import Kind, StreamName
from demo.trade_ids import TradeIds

_QUIET_TRADES = 20
_SECOND_MS = 1000


def final_delay_ms(series: Series, row: Row) -> int:
    """Return how long after the nominal end of the candle `row` its final frame comes, ms.

    As in recorded sessions: 1.4 to 2.4 s on spot; on futures less than a second where much is traded,
    else the next tick of two seconds. Candles of 1s: below half a second, they follow each other.
    """
    share = zlib.crc32(f"{series}/{row[0]}".encode())
    if series.market is Market.SPOT:
        is_second = grid_of(series.interval).length_ms == _SECOND_MS
        return 50 + share % 400 if is_second else 1300 + share % 1100
    return 2003 + share % 3 if row[8] < _QUIET_TRADES else 200 + share % 600


@dataclass(slots=True)
class _Open:
    """The candle that frames are of."""

    row: Row
    end_ms: int
    final_ms: int
    first_trade: int
    sent_trades: int = 0  # of the newest frame: a candle that has not changed is not sent again


class KlineChannel:
    """The frames of one series. What the store says decides, also when it changes meanwhile.

    As continuous klines of futures they name the pair and the kind of contract in the place of the symbol.
    """

    def __init__(self, name: StreamName, series: Series, store: CandleStore, ids: TradeIds) -> None:
        self.next_ms = 0
        self._name = name.text
        self._series = series
        self._store = store
        self._ids = ids
        self._every_ms = name.every_ms
        self._phase_ms = zlib.crc32(name.text.encode()) % name.every_ms
        symbol = f'"s":"{series.symbol}"'
        self._event, self._who, self._whose = "kline", symbol, f"{symbol},"
        if name.kind is Kind.CONTINUOUS_KLINE:
            pair = pair_of(series.symbol)
            self._event, self._who, self._whose = "continuous_kline", f'"ps":"{pair}","ct":"PERPETUAL"', ""
        self._open: _Open | None = None

    def restart(self, now_ms: int) -> None:
        """Begin at `now_ms`, with the candle whose final frame is the next to come."""
        candles = self._store.candles(self._series)
        position = max(0, candles.first_after(now_ms) - 2)
        self._take(candles, position, now_ms)

    def due(self, now_ms: int) -> list[StreamFrame]:
        """Return the frames due up to `now_ms`: every final one, of the others only the newest of each candle."""
        frames: list[StreamFrame] = []
        while self.next_ms <= now_ms:
            candle = self._open
            if candle is None:
                self.restart(self.next_ms)
                if self._open is None:
                    self.next_ms = now_ms + self._every_ms
            elif self.next_ms >= candle.final_ms:
                frames += self._final(candle)
                candles = self._store.candles(self._series)
                self._take(candles, candles.first_after(candle.row[0]), candle.final_ms)
            else:
                at_ms = self._tick_at_or_before(min(now_ms, candle.end_ms - 1))
                frames += self._progress(candle, at_ms)
                self._wait_for_tick(candle, at_ms)
        return frames

    def _take(self, candles: CandleRows, position: int, after_ms: int) -> None:
        """Open the first candle from `position` on whose final frame comes after `after_ms`."""
        self._open, self.next_ms = None, after_ms + self._every_ms
        if not self._store.facts(self._series.market, self._series.symbol).listed:
            return
        for place in range(position, min(position + 3, len(candles))):
            row = candles.rows(place, place + 1)[0]
            end_ms = grid_of(self._series.interval).later(row[0], 1)
            final_ms = end_ms + final_delay_ms(self._series, row)
            if final_ms > after_ms:
                self._open = _Open(row, end_ms, final_ms, self._first_trade(row))
                self._wait_for_tick(self._open, max(after_ms, row[0]))
                return

    def _wait_for_tick(self, candle: _Open, after_ms: int) -> None:
        """Wait for the first tick after `after_ms`, or for the final frame."""
        tick_ms = after_ms + 1 + (self._phase_ms - after_ms - 1) % self._every_ms
        is_in_time = candle.row[8] and tick_ms < candle.end_ms
        self.next_ms = tick_ms if is_in_time else max(candle.final_ms, after_ms)

    def _tick_at_or_before(self, ms: int) -> int:
        return ms - (ms - self._phase_ms) % self._every_ms

    def _progress(self, candle: _Open, at_ms: int) -> list[StreamFrame]:
        trades = trades_before(candle.row, candle.end_ms, at_ms)
        if trades == candle.sent_trades:
            return []
        candle.sent_trades = trades
        row = in_progress(candle.row, candle.end_ms, at_ms)
        return [self._frame(row, candle.first_trade, at_ms, "false")]

    def _final(self, candle: _Open) -> list[StreamFrame]:
        """Return the closed candle as REST answers it now; nothing when it was taken out of the store."""
        rows = self._store.rows(self._series, candle.row[0], candle.row[0] + 1)
        return [self._frame(rows[0], self._first_trade(rows[0]), candle.final_ms, "true")] if rows else []

    def _first_trade(self, row: Row) -> int:
        return self._ids.first_trade(self._series.market, self._series.symbol, row[0]) if row[8] else -1

    def _frame(self, row: Row, first_trade: int, at_ms: int, closed: str) -> StreamFrame:
        open_ms, o, h, low, c, v, close_ms, q, n, taker, taker_quote, _ = row
        first, last = (first_trade, first_trade + n - 1) if n else (-1, -1)
        text = (
            f'{{"e":"{self._event}","E":{at_ms},{self._who},"k":{{"t":{open_ms},"T":{close_ms},{self._whose}'
            f'"i":"{self._series.interval.code}","f":{first},"L":{last},"o":"{o}","c":"{c}","h":"{h}","l":"{low}","v":"{v}","n":{n},'
            f'"x":{closed},"q":"{q}","V":"{taker}","Q":"{taker_quote}","B":"0"}}}}'
        )
        return StreamFrame(self._name, text.encode(), is_final=closed == "true")
