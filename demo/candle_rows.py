"""The candles of one series in compact form: open times as integers, each row as its JSON text.

A year of 1m candles is 525,600 rows. As Python lists of text that would be half a gigabyte; as one
block of text it is about 80 MB, and a page of a REST answer is one slice of it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

Row = list[Any]
"""One candle in the exchange's order (docs/binance.md, Klines): open time (int, epoch ms), open, high,
low, close, volume (text), close time (int, epoch ms), quote volume (text), trades (int), taker buy
volume, taker buy quote volume (text), and an unused "0"."""

ROW_LENGTH = 12


@dataclass(frozen=True, slots=True, eq=False)
class CandleRows:
    """Rows sorted by open time, without doubles. Never changes: every operation returns a new one.

    Equal to itself alone, so that what is made of it can be kept by it.
    """

    times: array[int]  # open times, epoch ms, ascending
    ends: array[int]  # where each row's text ends, its trailing comma included
    text: bytes  # the rows' JSON, each followed by a comma

    @classmethod
    def of(cls, rows: Iterable[Sequence[Any]]) -> CandleRows:
        """Return `rows` (any order) in compact form; of rows with equal open times the last one wins.

        Raises ValueError for a row that has not 12 items.
        """
        times, ends, text = array("q"), array("q"), bytearray()
        is_sorted, previous = True, None
        for row in rows:
            if len(row) != ROW_LENGTH:
                raise ValueError(f"a candle row has {ROW_LENGTH} items, not {len(row)}: {row!r}")
            text += orjson.dumps(row)
            text += b","
            open_ms = row[0]
            is_sorted = is_sorted and (previous is None or open_ms > previous)
            times.append(open_ms)
            ends.append(len(text))
            previous = open_ms
        given = cls(times, ends, bytes(text))
        return given if is_sorted else EMPTY._merged_by_sorting(given)

    def __len__(self) -> int:
        return len(self.times)

    def first_at_or_after(self, ms: int) -> int:
        """Return the position of the first candle that opens at or after `ms`."""
        return bisect_left(self.times, ms)

    def first_after(self, ms: int) -> int:
        """Return the position of the first candle that opens after `ms`."""
        return bisect_right(self.times, ms)

    def json(self, first: int, last: int) -> bytes:
        """Return the rows at positions `[first, last)` as JSON, joined by commas, without outer brackets."""
        return self.text[self._start(first) : self._start(last) - 1] if first < last else b""

    def rows(self, first: int, last: int) -> list[Row]:
        """Return the rows at positions `[first, last)`."""
        return cast("list[Row]", orjson.loads(b"[" + self.json(first, last) + b"]"))

    def merged(self, newer: CandleRows) -> CandleRows:
        """Return both; where open times are equal, the row of `newer`."""
        if not len(newer):
            return self
        if not len(self):
            return newer
        if newer.times[0] > self.times[-1]:
            return self._followed_by(newer)
        first, last = self.first_at_or_after(newer.times[0]), self.first_after(newer.times[-1])
        # Sorted is only what both have: a few candles in the middle of a year cost no sorting of the year.
        middle = self._part(first, last)._merged_by_sorting(newer) if first < last else newer
        return self._part(0, first)._followed_by(middle)._followed_by(self._part(last, len(self)))

    def without(self, first: int, last: int) -> CandleRows:
        """Return all rows except those at positions `[first, last)`."""
        return self._part(0, first)._followed_by(self._part(last, len(self)))

    def _start(self, position: int) -> int:
        return self.ends[position - 1] if position else 0

    def _part(self, first: int, last: int) -> CandleRows:
        start = self._start(first)
        ends = array("q", (end - start for end in self.ends[first:last]))
        return CandleRows(self.times[first:last], ends, self.text[start : self._start(last)])

    def _followed_by(self, later: CandleRows) -> CandleRows:
        shift = len(self.text)
        ends = self.ends + array("q", (end + shift for end in later.ends))
        return CandleRows(self.times + later.times, ends, self.text + later.text)

    def _merged_by_sorting(self, newer: CandleRows) -> CandleRows:
        place = {ms: (self, position) for position, ms in enumerate(self.times)}
        place.update({ms: (newer, position) for position, ms in enumerate(newer.times)})
        times, ends, text = array("q", sorted(place)), array("q"), bytearray()
        for ms in times:
            source, position = place[ms]
            text += source.text[source._start(position) : source.ends[position]]
            ends.append(len(text))
        return CandleRows(times, ends, bytes(text))


EMPTY = CandleRows(array("q"), array("q"), b"")
