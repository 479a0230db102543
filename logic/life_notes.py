"""The notes of a symbol's life, as the catalog keeps them: one text, its parts divided by semicolons.

Most notes stay for good (a ticker that was reused), as does what somebody wrote there by hand. The
note of a silent symbol holds while it is silent, and says when the exchange was last asked.
"""

from __future__ import annotations

import re

from core.times import MS_PER_DAY, format_ms, parse_time

_BETWEEN = "; "
_SILENCE = re.compile(r"(no candle since .*) \(asked ([0-9]{4}-[0-9]{2}-[0-9]{2})\)")


def silence_note(end_ms: int, status: str | None, now_ms: int) -> str:
    """Return the note of a symbol whose last candle ended at `end_ms` although its status says that it trades."""
    day_ms = now_ms // MS_PER_DAY * MS_PER_DAY
    return f"no candle since {format_ms(end_ms)} although the exchange lists it as {status} (asked {format_ms(day_ms)})"


def silence_asked_ms(note: str | None) -> int | None:
    """Return the day (its first instant) in the note of a silent symbol, or None when there is no such note."""
    for part in _parts(note):
        if match := _SILENCE.fullmatch(part):
            try:
                return parse_time(match[2])
            except ValueError:  # edited by hand
                return None
    return None


def lasting_notes(note: str | None) -> tuple[str, ...]:
    """Return the parts that stay whatever the exchange says now."""
    return tuple(part for part in _parts(note) if not _SILENCE.fullmatch(part))


def joined(*notes: str) -> str | None:
    """Return the notes as one text, each once; None when there are none."""
    return _BETWEEN.join(dict.fromkeys(notes)) or None


def news(note: str | None, known: str | None) -> list[str]:
    """Return the parts of `note` that `known` has not; that a silent symbol was asked about again is no news."""
    told = {_without_day(part) for part in _parts(known)}
    return [part for part in map(_without_day, _parts(note)) if part not in told]


def _without_day(part: str) -> str:
    match = _SILENCE.fullmatch(part)
    return match[1] if match else part


def _parts(note: str | None) -> tuple[str, ...]:
    return tuple(note.split(_BETWEEN)) if note else ()
