"""Which ledger spans one verification takes: one part of several, or those unverified for longest. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from core.errors import ConfigurationError

_PART = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%?")


@dataclass(frozen=True, slots=True)
class Part:
    """Part `number` of `of`: always the same spans; all parts together are all spans."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the choice needs to know of a ledger span."""

    key: str  # stable name of the span: its series and its start
    rows: int
    waiting_since_ms: int  # when verify last tried it, or when it was fetched


def parse_part(text: str) -> Part:
    """Return `3/30` as a part. Raises ConfigurationError."""
    match = _PART.fullmatch(text)
    if match is not None and 1 <= int(match[1]) <= int(match[2]):
        return Part(int(match[1]), int(match[2]))
    raise ConfigurationError(f"--subset {text[:40]!r}: write n/t with n from 1 to t, such as 3/30")


def parse_percent(text: str) -> Fraction:
    """Return `4` or `2.5` as a share of one. Raises ConfigurationError."""
    match = _PERCENT.fullmatch(text)
    if match is not None and 0 < (share := Fraction(match[1]) / 100) <= 1:
        return share
    raise ConfigurationError(f"--percent {text[:40]!r}: write a number above 0, at most 100")


def choose_part(candidates: Sequence[Candidate], part: Part) -> list[int]:
    """Return the positions of the candidates that belong to `part`."""
    return [i for i, one in enumerate(candidates) if _bucket(one.key, part.of) == part.number - 1]


def choose_longest_waiting(candidates: Sequence[Candidate], share: Fraction) -> list[int]:
    """Return the positions of the candidates that wait longest and together hold `share` of all rows.

    At least one. A daily run with 4 % gets through all spans in about 25 days.
    """
    weights = [max(one.rows, 1) for one in candidates]  # an empty span has to be verified too
    wanted = share * sum(weights)
    chosen: list[int] = []
    rows = 0
    for i in sorted(range(len(candidates)), key=lambda i: (candidates[i].waiting_since_ms, candidates[i].key)):
        if chosen and rows >= wanted:
            break
        chosen.append(i)
        rows += weights[i]
    return sorted(chosen)


def _bucket(key: str, buckets: int) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % buckets
