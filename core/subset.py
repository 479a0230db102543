"""How an operator writes which ledger spans one verification takes: one part of several, or a share. Pure."""

from __future__ import annotations

import re
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
