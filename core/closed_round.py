"""One round of closed candles from streams: which may be stored, and which ledger rows they extend or begin. Pure.

A stream delivers one candle of each series at a time. Together they are one round, of which db/closed_candles.py makes
one transaction. The ledger row that a process extends keeps its hash running in memory, so that no stored candle has to
be read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import pyarrow as pa

from core.candles import CandleBatch, value_lines
from core.columns import SCHEMA, VALUE_NAMES
from core.folding import FOLDED_ROWS
from core.series import Series
from core.validation import impossible_rows

if TYPE_CHECKING:
    from hashlib import _Hash as Digest


_TOO_MANY = 2**62


@dataclass(frozen=True, slots=True)
class ClosedCandle:
    """A candle that has closed, as a stream delivered it. Its form is checked; whether it is possible is not."""

    series_id: int
    series: Series
    open_ms: int
    values: tuple[str | int, ...]  # in the order of core.columns.VALUE_COLUMNS, digits as sent; the trades are an int


class Fate(StrEnum):
    """What became of a candle in a round."""

    STORED = "stored"
    EQUAL = "equal"  # it was there already, with these values
    CONFLICT = "conflict"  # another value is stored, or was given earlier in the round; that one stays
    GAP = "gap"  # the ledger covers its slot as one without a candle: for a recheck of the gap by REST
    IMPOSSIBLE = "impossible"  # it cannot be a candle, or opens off the grid; REST has to say what is there
    BUSY = "busy"  # another run is working on the series; give it again later
    FAILED = "failed"  # the table cannot be used now; give it again later


@dataclass(frozen=True, slots=True)
class CandleOutcome:
    """What became of one candle. Only a STORED or EQUAL one is sure to be stored as it was given."""

    candle: ClosedCandle
    fate: Fate
    why: str = ""  # of a conflict, an impossible, busy or failed candle: one sentence
    is_covered: bool = False  # the ledger covers its slot now
    after_hole: bool = False  # its slot was not covered yet, and the one before is not either


@dataclass(frozen=True, slots=True)
class CheckedCandle:
    """A candle that is possible, with the line of the content hash (core.candles)."""

    candle: ClosedCandle
    line: str


def check_round(candles: Sequence[ClosedCandle]) -> tuple[list[CheckedCandle], list[CandleOutcome]]:
    """Return the candles that may be stored, by series and time, and the outcomes of those that may not.

    The values are checked by the rules of every source (core.validation). A candle that comes twice with the same
    values is taken once.
    """
    batch = _batch([(one.open_ms, *map(_within_64_bits, one.values)) for one in candles])
    wrong = dict(impossible_rows(batch))
    wrong |= {n: "it opens off the grid" for n, one in enumerate(candles) if n not in wrong and _is_off_grid(one)}
    refused = [CandleOutcome(candles[place], Fate.IMPOSSIBLE, why) for place, why in sorted(wrong.items())]
    possible = [n for n in range(len(candles)) if n not in wrong]
    checked: dict[tuple[int, int], CheckedCandle] = {}
    for place, line in zip(possible, _lines(batch.columns.take(pa.array(possible, pa.int64()))), strict=True):
        candle = candles[place]
        first = checked.setdefault((candle.series_id, candle.open_ms), CheckedCandle(candle, line))
        if first.line != line:
            refused.append(CandleOutcome(candle, Fate.CONFLICT, _differing(first.line, line)))
    return [checked[key] for key in sorted(checked)], refused


def _within_64_bits(value: str | int) -> str | int:
    """Return a count as it is, or an impossible one that a column of a batch can hold."""
    return value if isinstance(value, str) or abs(value) < _TOO_MANY else _TOO_MANY


def _is_off_grid(candle: ClosedCandle) -> bool:
    return candle.series.interval.floor(candle.open_ms) != candle.open_ms


def _batch(rows: Iterable[Sequence[object]]) -> CandleBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return CandleBatch(pa.table(arrays, schema=SCHEMA))


def _lines(columns: pa.Table) -> list[str]:
    return list(value_lines(CandleBatch(columns)).to_pylist())


def _differing(stored: str, given: str) -> str:
    pairs = zip(VALUE_NAMES, stored.split(",")[1:], given.split(",")[1:], strict=True)
    return ", ".join(f"{name} stored {a} given {b}" for name, a, b in pairs if a != b)


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A ledger row of streamed candles that the process which began it may extend."""

    id: int | None  # None: it is not in the ledger yet
    start_ms: int
    end_ms: int  # exclusive
    rows: int
    digest: Digest  # over the lines of the content hash; copied, never updated

    @classmethod
    def begun(cls, first: CheckedCandle) -> OpenRow:
        """Return a row of one candle."""
        candle = first.candle
        return cls(None, candle.open_ms, candle.open_ms, 0, hashlib.sha256()).extended(first)

    def extended(self, by: CheckedCandle) -> OpenRow:
        """Return the row with one more candle, which must open at its end."""
        digest = self.digest.copy()
        digest.update(f"{by.line}\n".encode())
        end_ms = by.candle.series.interval.add(by.candle.open_ms, 1)
        return replace(self, end_ms=end_ms, rows=self.rows + 1, digest=digest)

    @property
    def content_hash(self) -> str:
        """The content hash of its candles (core.candles.content_hash)."""
        return self.digest.hexdigest()


@dataclass(frozen=True, slots=True)
class RowBefore:
    """The ledger's last row that begins at or before a candle."""

    id: int
    end_ms: int  # exclusive
    content_hash: str | None
    is_provisional: bool  # streamed, and neither verified nor witnessed yet

    def covers(self, open_ms: int) -> bool:
        """Whether the candle that opens at `open_ms` lies in it."""
        return self.end_ms > open_ms

    def is_as_left(self, row: OpenRow) -> bool:
        """Whether it is `row` as its process left it, so that it may be extended."""
        return self.is_provisional and (self.id, self.end_ms, self.content_hash) == (
            row.id,
            row.end_ms,
            row.content_hash,
        )


@dataclass(frozen=True, slots=True)
class GivenCandle:
    """A candle of a round, what the ledger said of its slot, and what the table held when it was to be stored."""

    checked: CheckedCandle
    before: RowBefore | None
    was_inserted: bool
    held: tuple[str, ...] | None = None  # when not inserted: the values in the table; None: there is no candle

    @property
    def was_covered(self) -> bool:
        """Whether the ledger covered its slot already."""
        return self.before is not None and self.before.covers(self.checked.candle.open_ms)


def judge_round(given: Sequence[GivenCandle]) -> list[CandleOutcome]:
    """Return what became of the candles of a round, which are ordered by series and time.

    A slot where another value is stored without a ledger row stays uncovered: REST is asked for it.
    """
    held = [(one.checked.candle.open_ms, *_values(one.held)) for one in given if one.held is not None]
    lines = iter(_lines(_batch(held).columns))
    outcomes = list[CandleOutcome]()
    for one in given:
        candle, fate, why = one.checked.candle, Fate.STORED, ""
        if one.held is not None:
            stored = next(lines)
            fate = Fate.EQUAL if stored == one.checked.line else Fate.CONFLICT
            why = "" if fate is Fate.EQUAL else _differing(stored, one.checked.line)
        elif not one.was_inserted:
            fate = Fate.GAP
        is_covered = one.was_covered or fate in (Fate.STORED, Fate.EQUAL)
        outcomes.append(CandleOutcome(candle, fate, why, is_covered, _is_after_hole(one, outcomes)))
    return outcomes


def _values(texts: Sequence[str]) -> list[str | int]:
    return [int(text) if name == "trades" else text for name, text in zip(VALUE_NAMES, texts, strict=True)]


def _is_after_hole(one: GivenCandle, outcomes: Sequence[CandleOutcome]) -> bool:
    candle, before = one.checked.candle, one.before
    if before is not None and before.end_ms >= candle.open_ms:
        return False
    if not outcomes or outcomes[-1].candle.series_id != candle.series_id:
        return True
    last = outcomes[-1]
    return not last.is_covered or candle.series.interval.add(last.candle.open_ms, 1) != candle.open_ms


def extend_rows(given: Sequence[GivenCandle], outcomes: Sequence[CandleOutcome], row: OpenRow | None) -> list[OpenRow]:
    """Return the ledger rows that cover the candles of one series, ascending: first `row`, extended, then new ones.

    `row` is extended when the ledger still has it as it was left, a candle follows it directly, and it has less than a
    day of 1m. The last one returned is the row to be extended next; without candles to cover there is none.
    """
    as_left = row is not None and any(one.before is not None and one.before.is_as_left(row) for one in given)
    rows = list[OpenRow]()
    last = row if as_left else None
    for one, outcome in zip(given, outcomes, strict=True):
        if one.was_covered or not outcome.is_covered:
            continue
        if last is not None and last.end_ms == outcome.candle.open_ms and last.rows < FOLDED_ROWS:
            last = last.extended(one.checked)
            rows[-1:] = []  # what it extends, unless that is `row`
        else:
            last = OpenRow.begun(one.checked)
        rows.append(last)
    return rows
