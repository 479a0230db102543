"""Compare stored candles with the reference (what the exchange has now), digit for digit. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from core.candles import CandleBatch, value_lines
from core.columns import SCHEMA
from core.times import format_ms


class Kind(StrEnum):
    """How a stored candle differs from the reference."""

    MISSING = "missing"  # the exchange has it, the table does not
    EXTRA = "extra"  # the exchange does not have it, or the table has it twice
    DIFFERENT = "different"  # both have it, with different values


@dataclass(frozen=True, slots=True)
class Difference:
    """One candle that differs from the reference. Values are in the order of `SCHEMA`, without the open time."""

    time_ms: int
    kind: Kind
    stored: tuple[str, ...] | None
    reference: tuple[str, ...] | None

    def __str__(self) -> str:
        if self.stored is None or self.reference is None:
            return f"{format_ms(self.time_ms)}: {self.kind}"
        names = SCHEMA.names[1:]
        parts = [f"{n} {a}, not {b}" for n, a, b in zip(names, self.stored, self.reference, strict=True) if a != b]
        return f"{format_ms(self.time_ms)}: {self.kind}: {'; '.join(parts) or 'there twice'}"


def compare(stored: CandleBatch, reference: CandleBatch) -> list[Difference]:
    """Return where `stored` differs from `reference` (what the exchange has), in order of open time.

    Trailing zeros do not count as a difference. A candle that is stored twice is one too many (EXTRA).
    """
    stored_lines, reference_lines = _by_time(stored), _by_time(reference)
    differences = []
    for time_ms in sorted(stored_lines.keys() | reference_lines.keys()):
        found, wanted = stored_lines.get(time_ms, []), reference_lines.get(time_ms, [])
        if found == wanted:
            continue
        kind = Kind.MISSING if not found else Kind.EXTRA if not wanted or len(found) > 1 else Kind.DIFFERENT
        differences.append(Difference(time_ms, kind, _values(found), _values(wanted)))
    return differences


def _by_time(batch: CandleBatch) -> dict[int, list[str]]:
    lines: dict[int, list[str]] = {}
    texts: Iterable[str] = value_lines(batch).to_pylist() if batch.rows else ()
    for time_ms, line in zip(batch.open_times(), texts, strict=True):
        lines.setdefault(time_ms, []).append(line)
    return lines


def _values(lines: list[str]) -> tuple[str, ...] | None:
    return tuple(lines[0].split(",")[1:]) if lines else None
