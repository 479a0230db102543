"""What can be wrong with a page of candles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.times import MS_PER_MINUTE, parse_time
from demo.faults import Action, AlterBody, AlterRows
from faults.stage import DONE, HTML, Case, fault


def with_field(position: int, value: object) -> AlterRows:
    """Put `value` into the third row's field."""

    def change(rows: list[Any]) -> list[Any]:
        return [[*r[:position], value, *r[position + 1 :]] if i == 2 else r for i, r in enumerate(rows)]

    return AlterRows(change)


def shifted(rows: list[Any], minutes: int) -> list[Any]:
    return [[row[0] + minutes * MS_PER_MINUTE, *row[1:6], row[6] + minutes * MS_PER_MINUTE, *row[7:]] for row in rows]


def later_by(ms: int) -> AlterRows:
    """Shift the third row's times."""
    return AlterRows(
        lambda rows: [[r[0] + ms, *r[1:6], r[6] + ms, *r[7:]] if i == 2 else r for i, r in enumerate(rows)]
    )


def always_later_by(ms: int, time_ms: int) -> AlterRows:
    """Shift the times of one candle, in whatever answer it stands."""
    return AlterRows(lambda rows: [[r[0] + ms, *r[1:6], r[6] + ms, *r[7:]] if r[0] == time_ms else r for r in rows])


def without(time_ms: int) -> AlterRows:
    return AlterRows(lambda rows: [row for row in rows if row[0] != time_ms])


LACKED_MS = parse_time("2024-02-01T07:00")
# Rows that cannot be candles: when all answers have them, they are left out, each with its gap.
LEFT_OUT = "for a candle cannot be one, "
PAGES: dict[str, tuple[Action, str]] = {
    "short": (
        AlterRows(lambda rows: rows[: -(-len(rows) // 2)]),
        "lack candles that it has just given, or keep changing",
    ),
    "doubled": (
        AlterRows(lambda rows: [rows[i // 2] for i in range(len(rows))]),
        "candles are doubled or out of order",
    ),
    "unsorted": (AlterRows(lambda rows: rows[::-1]), "candles are doubled or out of order"),
    "overlapping": (AlterRows(lambda rows: shifted(rows, -5)), "was asked for"),
    "with a candle too many": (AlterRows(lambda rows: [*rows, *shifted(rows[-1:], 1)]), "candles where at most"),
    "with an unclosed candle": (AlterRows(lambda rows: [*rows[1:], *shifted(rows[-1:], 1)]), "was asked for"),
    "with too few fields": (AlterRows(lambda rows: [row[:11] for row in rows]), "does not have 12 fields"),
    "with too many fields": (AlterRows(lambda rows: [[*row, "0"] for row in rows]), "does not have 12 fields"),
    "with NaN as a text": (with_field(4, "NaN"), LEFT_OUT + "close is not a plain decimal number"),
    "with NaN as a number": (AlterBody(lambda body: body.replace(b'"0"]', b"NaN]", 1)), "is not whole JSON"),
    "with an empty price": (with_field(1, ""), LEFT_OUT + "open is not a plain decimal number"),
    "with a price of null": (with_field(2, None), LEFT_OUT + "high is missing"),
    "with a price as a number": (with_field(3, 3.5), "a candle has a field of the wrong kind"),
    "with a negative price": (with_field(3, "-1.00"), LEFT_OUT + "low is not a plain decimal number"),
    "with a price of zero": (with_field(3, "0.00000000"), LEFT_OUT + "a price is not above zero"),
    "with an absurd price": (with_field(2, "9" * 30), LEFT_OUT + "high is not a plain decimal number"),
    "with high below low": (with_field(2, "0.00000001"), LEFT_OUT + "open or close lies outside low..high"),
    "with a time as a text": (with_field(0, "1706745600000"), "open_time is not a whole number"),
    "with negative trades": (with_field(8, -1), LEFT_OUT + "trades is outside 0"),
    "of cut JSON": (AlterBody(lambda body: body[:-20]), "the answer is not whole JSON"),
    "of nothing": (AlterBody(lambda body: b""), "the answer is not whole JSON (0 bytes"),
    "of too many bytes": (AlterBody(lambda body: body + b" " * (64 << 20)), "answers more than 67,108,864 bytes"),
    "of HTML": (AlterBody(lambda body: HTML.encode()), "begins '<html><body>Welcome"),
    "that is an object": (AlterBody(lambda body: b'{"code":-1000,"msg":"?"}'), "expected a list of candles"),
}


def page_cases() -> Iterator[Case]:
    for number, (kind, (action, named)) in enumerate(PAGES.items()):
        symbol = f"PAGE{number}USDT"
        place = f"symbol={symbol}&interval=1m"
        once = fault(place, action, times=1, after=3)  # the first requests look for the listing, a row each
        yield Case(f"page {kind}, once", 0, DONE, "all", once, symbol=symbol, group="once")
        always, is_left_out = fault(place, action), named.startswith(LEFT_OUT)
        code, stored = (0, "usable") if is_left_out else (3, "none")
        yield Case(f"page {kind}, for ever", code, named, stored, always, symbol=symbol, group="for ever")
    for number, (kind, ms) in enumerate({"a millisecond": 1, "a second": 1000, "half a minute": 30_000}.items()):
        symbol = f"LATE{number}USDT"
        once = fault(f"symbol={symbol}&interval=1m", later_by(ms), times=1, after=3)
        yield Case(f"page with a candle {kind} late, once", 0, DONE, "all", once, symbol=symbol, group="once")
