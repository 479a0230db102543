"""A market of two series, the ways in which an exchange answers wrongly, and a program that does not wait long."""

from __future__ import annotations

from typing import Any

from program import Program

from core.ranges import Span
from core.series import parse_series
from core.times import parse_time
from demo.candle_store import CandleStore
from demo.faults import AlterBody, AlterRows, Answer, CutBody, Reset
from demo.generated_market import generate_series

SPAN = Span(parse_time("2024-02-01"), parse_time("2024-03-05T09:00"))
HALT = Span(parse_time("2024-02-15T03:00"), parse_time("2024-02-15T05:30"))
SERIES = [parse_series("BTCUSDT"), parse_series("cm:BTCUSD_PERP/5m")]


def late(rows: list[Any], ms: int) -> list[Any]:
    """Shift the open and close time of the third candle; 0: by half its length."""
    return [
        [row[0] + (by := ms or (row[6] - row[0] + 1) // 2), *row[1:6], row[6] + by, *row[7:]] if i == 2 else row
        for i, row in enumerate(rows)
    ]


def late_line(lines: list[bytes], ms: int) -> list[bytes]:
    """The same in the CSV of an archive of 2024, which has milliseconds; the tenth line is never a header."""
    cells = lines[9].split(b",")
    by = ms or (int(cells[6]) - int(cells[0]) + 1) // 2
    return [*lines[:9], b",".join([b"%d" % (int(cells[0]) + by), *cells[1:]]), *lines[10:]]


SHIFTS_MS = (1, 1_000, 0)
FAULTS: list[Any] = [
    *(AlterRows(lambda rows, ms=ms: late(rows, ms)) for ms in SHIFTS_MS),
    Answer(500, "oops"),
    Answer(503, "<html>no</html>"),
    Answer(200, "<html>hello</html>"),
    Answer(200, ""),
    Answer(200, "[]"),
    Answer(200, '{"code":-1000,"msg":"?"}'),
    Answer(429, {"code": -1003, "msg": "slow down"}, {"Retry-After": "1"}),
    CutBody(),
    Reset(),
    AlterBody(lambda body: body[:-20]),
    AlterRows(lambda rows: rows[: len(rows) // 2]),
    AlterRows(lambda rows: rows[:3] + rows[9:]),
    AlterRows(lambda rows: rows[::-1]),
    AlterRows(lambda rows: rows + rows),
    AlterRows(lambda rows: [[*row[:2], "NaN", *row[3:]] for row in rows]),
]
PLACES = ["klines", "klines", "klines", ".zip", "CHECKSUM", "bucket", "exchangeInfo", "time"]


def market() -> CandleStore:
    """Return a store with both series; spot is halted for a while."""
    store = CandleStore()
    for number, series in enumerate(SERIES):
        store.add(series, generate_series(series, SPAN, number, halts=(HALT,) if number == 0 else ()))
    return store


def hurry(program: Program) -> None:
    """Let the program wait for moments only where it would back off for seconds."""
    folder = program.folder / "hurry"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import threading\nwait = threading.Event.wait\n"
        "threading.Event.wait = lambda self, s=None: wait(self, min(s, 0.05) if s else s)\n"
    )
    program.settings["PYTHONPATH"] = str(folder)
