"""What the replay exchange serves: candles by series and facts by symbol."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.instrument import Market
from core.ranges import Span, merge
from core.series import Series
from demo.candle_rows import EMPTY, CandleRows, Row
from demo.grids import GRIDS

PERPETUAL_DELIVERY_MS = 4_133_404_800_000
"""The delivery date of a contract that is never delivered."""

_END_OF_TIME_MS = 2**62
_SHORTEST_FIRST = list(GRIDS)


@dataclass(frozen=True, slots=True)
class SymbolFacts:
    """What exchangeInfo says about a symbol besides its name."""

    status: str = "TRADING"  # spot and USD-M `status`, COIN-M `contractStatus`; BREAK when delisted from spot
    onboard_ms: int | None = None  # futures; the first candle when None
    delivery_ms: int = PERPETUAL_DELIVERY_MS  # futures
    listed: bool = True  # False: gone from the API (not in exchangeInfo, klines answer -1121), archives stay


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """An archive as the exchange published it, to be served byte for byte."""

    zip_path: Path
    checksum_path: Path | None  # its recorded CHECKSUM file, where there is one


class CandleStore:
    """Candles by series, facts by symbol, recorded files by archive path. Safe to change while being served.

    `revision` grows with every change of candles, so that what is made of them can be cached.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._candles: dict[Series, CandleRows] = {}
        self._facts: dict[tuple[Market, str], SymbolFacts] = {}
        self._files: dict[str, RecordedFile] = {}
        self._recorded: dict[Series, list[Span]] = {}
        self.revision = 0

    def copy(self) -> CandleStore:
        """Return a store of the same content; what is changed in one does not show in the other."""
        other = CandleStore()
        with self._lock:
            # Shallow is enough: rows, facts and files never change, they are replaced.
            other._candles, other._facts, other._files = dict(self._candles), dict(self._facts), dict(self._files)
            other._recorded = {series: list(spans) for series, spans in self._recorded.items()}
        return other

    def add(self, series: Series, rows: Iterable[Sequence[Any]] | CandleRows) -> None:
        """Add candles in any order, 12 items each as in `demo.candle_rows.Row`; an equal open time replaces.

        Raises ValueError for a row that has not 12 items.
        """
        added = rows if isinstance(rows, CandleRows) else CandleRows.of(rows)
        with self._lock:
            self._candles[series] = self._candles.get(series, EMPTY).merged(added)
            self.revision += 1

    def remove(self, series: Series, span: Span) -> None:
        """Make a hole: take out the candles that open in `span` (half-open)."""
        with self._lock:
            held = self._candles.get(series, EMPTY)
            first, last = held.first_at_or_after(span.start_ms), held.first_at_or_after(span.end_ms)
            self._candles[series] = held.without(first, last)
            self.revision += 1

    def series(self) -> list[Series]:
        """Return the series that were ever added, in order of their names."""
        with self._lock:
            return sorted(self._candles, key=str)

    def candles(self, series: Series) -> CandleRows:
        """Return the candles of `series` as they are now; later changes do not touch what is returned."""
        with self._lock:
            return self._candles.get(series, EMPTY)

    def open_times(self, series: Series) -> list[int]:
        """Return the open times of `series`, epoch ms, ascending."""
        return list(self.candles(series).times)

    def rows(self, series: Series, start_ms: int = 0, end_ms: int = _END_OF_TIME_MS) -> list[Row]:
        """Return the candles that open in `[start_ms, end_ms)`, ascending, as the exchange's 12-item rows."""
        candles = self.candles(series)
        return candles.rows(candles.first_at_or_after(start_ms), candles.first_at_or_after(end_ms))

    def json_rows(self, series: Series, start_ms: int = 0, end_ms: int = _END_OF_TIME_MS) -> bytes:
        """Return the candles that open in `[start_ms, end_ms)` as JSON rows joined by commas."""
        candles = self.candles(series)
        return candles.json(candles.first_at_or_after(start_ms), candles.first_at_or_after(end_ms))

    def symbols(self, market: Market) -> list[str]:
        """Return the symbols of `market` that have a series, sorted."""
        with self._lock:
            return sorted({series.symbol for series in self._candles if series.market is market})

    def listed_symbols(self, market: Market) -> list[str]:
        """Return the symbols of `market` that the API knows, sorted: those with a series that are listed."""
        return [symbol for symbol in self.symbols(market) if self.facts(market, symbol).listed]

    def set_facts(self, market: Market, symbol: str, facts: SymbolFacts) -> None:
        """Say what exchangeInfo tells about `symbol`."""
        with self._lock:
            self._facts[market, symbol] = facts

    def facts(self, market: Market, symbol: str) -> SymbolFacts:
        """Return what exchangeInfo tells about `symbol`; an ordinary trading symbol unless it was said."""
        with self._lock:
            return self._facts.get((market, symbol), SymbolFacts())

    def listing_ms(self, market: Market, symbol: str) -> int | None:
        """Return the open time of the symbol's first candle, or None without candles.

        Its finest series decides: a weekly candle opens before the listing that it holds.
        """
        with self._lock:
            held = [series for series in self._candles if (series.market, series.symbol) == (market, symbol)]
            for series in sorted(held, key=lambda series: _SHORTEST_FIRST.index(series.interval.code)):
                if len(self._candles[series]):
                    return self._candles[series].times[0]
        return None

    def keep_file(self, key: str, file: RecordedFile) -> None:
        """Serve `file` at the archive path `key` (below the host, no leading slash)."""
        with self._lock:
            self._files[key] = file

    def file(self, key: str) -> RecordedFile | None:
        """Return the recorded file of the archive path `key`, if there is one."""
        with self._lock:
            return self._files.get(key)

    def limit_archives(self, series: Series, spans: Iterable[Span]) -> None:
        """Say that `series` is known in `spans` only: no archive is made for a period that they do not hold whole."""
        with self._lock:
            self._recorded[series] = merge([*self._recorded.get(series, []), *spans])

    def archives_hold(self, series: Series, span: Span) -> bool:
        """Whether the whole of `span` is known, so that an archive of it can be made."""
        with self._lock:
            recorded = self._recorded.get(series)
        return recorded is None or any(known.intersect(span) == span for known in recorded)
