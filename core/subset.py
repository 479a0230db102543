"""Which committed spans one verification takes: all, one part of several, or those waiting longest. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Part:
    """`number`/`of`: the same spans on every run with the same numbers, all spans over all numbers."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A committed span as far as the choice goes."""

    key: str  # names the span for good: its series and its start
    rows: int
    waiting_since_ms: int  # when it was last verified, or fetched


def parse_part(text: str) -> Part:
    """Return `3/30` as a part. Raises ConfigurationError."""
    number, slash, of = text.partition("/")
    if slash and number.isascii() and number.isdigit() and of.isascii() and of.isdigit() and len(of) < 7:
        part = Part(int(number), int(of))
        if 1 <= part.number <= part.of:
            return part
    raise ConfigurationError(f"--subset {text[:40]!r}: write n/t with n from 1 to t, such as 3/30")


def parse_percent(text: str) -> Fraction:
    """Return `4` or `2.5` as a share of one. Raises ConfigurationError."""
    try:
        share = Fraction(text.removesuffix("%")) / 100
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigurationError(f"--percent {text[:40]!r}: write a number above 0, at most 100") from error
    if not 0 < share <= 1:
        raise ConfigurationError(f"--percent {text[:40]!r}: write a number above 0, at most 100")
    return share


def choose_part(candidates: Sequence[Candidate], part: Part) -> list[int]:
    """Return the positions of the candidates that belong to `part`."""
    return [i for i, one in enumerate(candidates) if _bucket(one.key, part.of) == part.number - 1]


def choose_longest_waiting(candidates: Sequence[Candidate], share: Fraction) -> list[int]:
    """Return the positions of the candidates that wait longest and together make up `share` of all rows.

    At least one; a run a day with 4 % comes round once in 25 days.
    """
    wanted = share * sum(one.rows for one in candidates)
    chosen: list[int] = []
    rows = 0
    for i in sorted(range(len(candidates)), key=lambda i: (candidates[i].waiting_since_ms, candidates[i].key)):
        if chosen and rows >= wanted:
            break
        chosen.append(i)
        rows += candidates[i].rows
    return sorted(chosen)


def _bucket(key: str, buckets: int) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % buckets
