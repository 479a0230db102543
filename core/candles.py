"""Batches of candles in columns (Apache Arrow). Prices and volumes are kept as the text that the exchange sent.

The text goes to PostgreSQL's NUMERIC without passing through a float, so no digit can change.
Arrow only holds and compares values here; it does no I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from core.columns import DECIMAL_COLUMNS, SCHEMA
from core.intervals import Interval
from core.ranges import Span, merge, span_or_none, subtract

_BLOCK_ROWS = 8192
_BEHIND_THE_END = 2**31 - 1
# Types are given: to infer one, Arrow looks for an optional module on the disk each time.
_ZERO, _COMMA = pa.scalar(0, pa.int32()), pa.scalar(",", pa.string())


@dataclass(frozen=True, slots=True)
class UnusableCandle:
    """A row of the exchange that cannot be a candle. It is never stored; its text is evidence."""

    open_ms: int
    row: str  # as the exchange sent it
    why: str


@dataclass(frozen=True, slots=True)
class CandleBatch:
    """Candles of one series in ascending order of open time; columns as in core.columns."""

    columns: pa.Table
    unusable: tuple[UnusableCandle, ...] = ()  # what the source has instead of a candle, in slots without one

    @classmethod
    def empty(cls) -> CandleBatch:
        """Return a batch without rows."""
        return cls(SCHEMA.empty_table())

    @classmethod
    def concat(cls, batches: Sequence[CandleBatch]) -> CandleBatch:
        """Return one batch with the rows of `batches`, in the order given."""
        if not batches:
            return cls.empty()
        table = pa.concat_tables([batch.columns for batch in batches]).combine_chunks()
        return cls(table, tuple(one for batch in batches for one in batch.unusable))

    @property
    def rows(self) -> int:
        """Number of candles."""
        return int(self.columns.num_rows)

    def open_times(self) -> list[int]:
        """Return the open times, epoch ms."""
        return list(self.columns["open_time"].to_pylist())

    @property
    def newest_ms(self) -> int:
        """The last open time, epoch ms. The batch must not be empty."""
        return int(self.columns["open_time"][-1].as_py())

    def within(self, span: Span) -> CandleBatch:
        """Return the candles whose open time lies in `span`."""
        times = self.columns["open_time"]
        unusable = tuple(one for one in self.unusable if span.start_ms <= one.open_ms < span.end_ms)
        if self.rows == 0 or (span.start_ms <= times[0].as_py() and times[-1].as_py() < span.end_ms):
            return self if len(unusable) == len(self.unusable) else CandleBatch(self.columns, unusable)
        inside = pc.and_(pc.greater_equal(times, _whole(span.start_ms)), pc.less(times, _whole(span.end_ms)))
        return CandleBatch(self.columns.filter(inside), unusable)

    def at(self, times: Sequence[int]) -> CandleBatch:
        """Return the candles whose open time is one of `times` (epoch ms)."""
        wanted = pa.array(times, pa.int64())
        return CandleBatch(self.columns.filter(pc.is_in(self.columns["open_time"], wanted)))

    def inside(self, spans: Sequence[Span]) -> CandleBatch:
        """Return the candles whose open time lies in one of `spans` (ascending, disjoint)."""
        return CandleBatch.concat([self.within(span) for span in spans])

    def outside(self, spans: Sequence[Span]) -> CandleBatch:
        """Return the candles whose open time lies in none of `spans` (ascending, disjoint)."""
        there = self.inside(spans)
        kept = tuple(one for one in self.unusable if one not in there.unusable)
        return CandleBatch(self.without(there.open_times()).columns, kept)

    def without(self, times: Collection[int]) -> CandleBatch:
        """Return the candles whose open time is none of `times` (epoch ms)."""
        unwanted = pc.is_in(self.columns["open_time"], pa.array(times, pa.int64()))
        return CandleBatch(self.columns.filter(pc.invert(unwanted)), self.unusable)

    def off_grid(self, interval: Interval) -> list[int]:
        """Return the open times (epoch ms) that are not on the interval's grid."""
        if self._is_unbroken(interval):
            return []
        return [time for time in self.open_times() if interval.floor(time) != time]

    def missing(self, interval: Interval, span: Span) -> list[Span]:
        """Return the grid slots of `span` without a candle, merged into spans; like `missing_spans`, but faster."""
        whole = span_or_none(interval.ceil(span.start_ms), interval.ceil(span.end_ms))
        if whole is None or not self._is_unbroken(interval):
            return missing_spans(self.open_times(), interval, span)
        times = self.columns["open_time"]
        return subtract([whole], [Span(times[0].as_py(), interval.add(times[-1].as_py(), 1))])

    def _is_unbroken(self, interval: Interval) -> bool:
        """Whether all candles are on the grid without a hole; False also when a quick check cannot tell."""
        if self.rows < 2 or interval.step_ms is None:
            return False
        times = self.columns["open_time"].combine_chunks()
        if interval.floor(first_ms := times[0].as_py()) != first_ms:
            return False
        return bool(pc.min_max(pc.pairwise_diff(times)).as_py() == {"min": interval.step_ms, "max": interval.step_ms})

    def blocks(self) -> list[pa.RecordBatch]:
        """Return the candles in blocks of limited size, to be processed one at a time so that memory use stays low."""
        return list(self.columns.to_batches(_BLOCK_ROWS))

    def row_text(self, index: int) -> str:
        """Return one candle as readable text, for messages."""
        row = self.columns.slice(index, 1).to_pylist()[0]
        return " ".join(f"{name}={value}" for name, value in row.items())


def _whole(number: int) -> pa.Scalar:
    return pa.scalar(number, pa.int64())


def merge_batches(first: CandleBatch, second: CandleBatch, interval: Interval) -> CandleBatch:
    """Return the candles of `first` plus those of `second` in grid slots that `first` lacks, in order of open time."""
    known = {interval.index(time) for time in first.open_times()}
    fresh = [i for i, time in enumerate(second.open_times()) if interval.index(time) not in known]
    if not fresh and not second.unusable:
        return first
    both = CandleBatch.concat([first, CandleBatch(second.columns.take(pa.array(fresh, pa.int64())), second.unusable)])
    known |= {interval.index(time) for time in both.open_times()}
    unusable = {one.open_ms: one for one in both.unusable if interval.index(one.open_ms) not in known}
    return CandleBatch(both.columns.sort_by("open_time"), tuple(unusable.values()))


def slots_off_grid(batch: CandleBatch, interval: Interval, confirmed: CandleBatch) -> list[Span]:
    """Return the slots, merged, that candles off the grid fall in; without candles that `confirmed` has, equal."""
    times = batch.off_grid(interval)
    if not times:
        return []
    known = set(value_lines(confirmed).to_pylist())
    lines = zip(times, value_lines(batch.at(times)).to_pylist(), strict=True)
    return merge(interval.slot_of(time) for time, line in lines if line not in known)


def content_hash(batch: CandleBatch) -> str:
    """Return the sha256 (hex) over the candles' values, in ascending order of open time.

    Each candle is one line that ends with a newline: the open time in epoch ms and the nine values in the order
    of `core.columns`, joined by commas, numbers without trailing zeros. `docs/storage.md` gives the SQL
    that computes the same hash over stored rows.
    """
    digest = hashlib.sha256()
    for block in batch.blocks():
        digest.update(characters(_value_lines(block, end="\n")))
    return digest.hexdigest()


def value_lines(batch: CandleBatch) -> pa.ChunkedArray:
    """Return each candle as one line of text, numbers without trailing zeros: equal candles give equal lines."""
    return pa.chunked_array([_value_lines(block) for block in batch.blocks()], pa.string())


def _value_lines(block: pa.RecordBatch, end: str = "") -> pa.Array:
    decimals = _without_trailing_zeros(stacked_decimals(block))
    columns = [
        decimals.slice(DECIMAL_COLUMNS.index(name) * block.num_rows, block.num_rows)
        if name in DECIMAL_COLUMNS
        else block[name].cast(pa.string())
        for name in SCHEMA.names
    ]
    # Replacing an empty slice past the end of the text appends to it, which is much faster than joining.
    columns[-1] = pc.binary_replace_slice(columns[-1], _BEHIND_THE_END, _BEHIND_THE_END, end)
    return pc.binary_join_element_wise(*columns, _COMMA)


def stacked_decimals(block: pa.RecordBatch) -> pa.Array:
    """Return the decimal columns of a block as one long column, in the order of `DECIMAL_COLUMNS`.

    An operation on all of them is then one call instead of eight; for small batches the calls are the main cost.
    """
    return pa.concat_arrays([block[name] for name in DECIMAL_COLUMNS])


def characters(column: pa.Array) -> memoryview:
    """Return the bytes (UTF-8) of all texts of a string column, without separators. The column must have no nulls.

    This is a view of Arrow's own memory: no Python string is made for each row.
    """
    first, last = column.offset, column.offset + len(column)
    offsets = memoryview(column.buffers()[1]).cast("i")
    return memoryview(column.buffers()[2])[offsets[first] : offsets[last]]


def _without_trailing_zeros(column: pa.Array) -> pa.Array:
    trimmed = pc.ascii_rtrim(pc.ascii_rtrim(column, "0"), ".")
    point = pc.find_substring(column, ".")
    if pc.min(point).as_py() >= 0:
        return trimmed
    return pc.if_else(pc.greater_equal(point, _ZERO), trimmed, column)


def missing_spans(open_times: Iterable[int], interval: Interval, span: Span) -> list[Span]:
    """Return the grid slots of `span` without a candle, merged into half-open spans, ascending.

    A candle whose open time is off the grid fills the slot that it falls in (docs/binance.md, Grids).
    """
    first, last = interval.index(interval.ceil(span.start_ms)), interval.index(interval.ceil(span.end_ms))
    present = sorted({interval.index(open_time) for open_time in open_times})
    holes: list[tuple[int, int]] = []
    cursor = first
    for index in present:
        if index < first or index >= last:
            continue
        if index > cursor:
            holes.append((cursor, index))
        cursor = index + 1
    if cursor < last:
        holes.append((cursor, last))
    return [Span(interval.open_of(start), interval.open_of(end)) for start, end in holes]


def coalesce(spans: Sequence[Span], interval: Interval, max_slots_apart: int) -> list[Span]:
    """Join neighbours of ascending, disjoint `spans` that are at most `max_slots_apart` candles apart."""
    joined: list[Span] = []
    for span in spans:
        if joined and interval.index(span.start_ms) - interval.index(joined[-1].end_ms) <= max_slots_apart:
            joined[-1] = Span(joined[-1].start_ms, span.end_ms)
        else:
            joined.append(span)
    return joined
