"""Stored candles held against the exchange's, digit for digit. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from core.candles import CandleBatch, value_lines
from core.columns import SCHEMA
from core.times import format_ms


class Kind(StrEnum):
    """How a stored candle and the exchange's differ."""

    MISSING = "missing"  # the exchange has it, the table does not
    EXTRA = "extra"  # the table has it, or has it twice, the exchange does not
    DIFFERENT = "different"  # both have it, with different values


@dataclass(frozen=True, slots=True)
class Difference:
    """One candle that is not what the exchange has. Values are as `SCHEMA` has them, without the open time."""

    time_ms: int
    kind: Kind
    stored: tuple[str, ...] | None
    right: tuple[str, ...] | None

    def __str__(self) -> str:
        if self.stored is None or self.right is None:
            return f"{format_ms(self.time_ms)}: {self.kind}"
        names = SCHEMA.names[1:]
        parts = [f"{n} {a}, not {b}" for n, a, b in zip(names, self.stored, self.right, strict=True) if a != b]
        return f"{format_ms(self.time_ms)}: {self.kind}: {'; '.join(parts) or 'there twice'}"


def compare(stored: CandleBatch, right: CandleBatch) -> list[Difference]:
    """Return where `stored` is not what `right` is, in order of open time. Equal numbers are equal digits apart from
    trailing zeros; a candle that is stored twice is one too many.
    """
    mine, theirs = _by_time(stored), _by_time(right)
    differences = []
    for time_ms in sorted(mine.keys() | theirs.keys()):
        ours, wanted = mine.get(time_ms, []), theirs.get(time_ms, [])
        if ours == wanted:
            continue
        kind = Kind.MISSING if not ours else Kind.EXTRA if not wanted or len(ours) > 1 else Kind.DIFFERENT
        differences.append(Difference(time_ms, kind, _values(ours), _values(wanted)))
    return differences


def _by_time(batch: CandleBatch) -> dict[int, list[str]]:
    lines: dict[int, list[str]] = {}
    texts: Iterable[str] = value_lines(batch).to_pylist() if batch.rows else ()
    for time_ms, line in zip(batch.open_times(), texts, strict=True):
        lines.setdefault(time_ms, []).append(line)
    return lines


def _values(lines: list[str]) -> tuple[str, ...] | None:
    return tuple(lines[0].split(",")[1:]) if lines else None
