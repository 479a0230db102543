"""A month of two series through an exchange that often answers wrongly: never a wrong row, never silence."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from candles import truth_rows
from program import Program, serve

from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_MINUTE, parse_time
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import AlterBody, AlterRows, Answer, CutBody, Reset
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.weights import WeightLimits

SPAN = Span(parse_time("2024-02-01"), parse_time("2024-03-05T09:00"))
HALT = Span(parse_time("2024-02-15T03:00"), parse_time("2024-02-15T05:30"))
SERIES = [parse_series("BTCUSDT"), parse_series("cm:BTCUSD_PERP/5m")]
FAULTS: list[Any] = [
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


@pytest.mark.parametrize("seed", range(4))
def test_what_is_stored_is_the_truth_and_what_lacks_is_said(program: Program, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    hurry = tmp_path / "hurry"
    hurry.mkdir()
    (hurry / "sitecustomize.py").write_text(
        "import threading\nwait = threading.Event.wait\n"
        "threading.Event.wait = lambda self, s=None: wait(self, min(s, 0.05) if s else s)\n"
    )
    program.settings["PYTHONPATH"] = str(hurry)
    store = CandleStore()
    for number, series in enumerate(SERIES):
        store.add(series, generate_series(series, SPAN, number, halts=(HALT,) if number == 0 else ()))
    names = [str(series) for series in SERIES]
    limits = WeightLimits(spot=10**7, futures=10**7)
    with ReplayExchange(store, ReplayClock(SPAN.end_ms + 25_000, speed=0.0), weight_limits=limits) as exchange:
        serve(program, exchange)
        for _ in range(40):
            place, fault = dice.choice(PLACES), dice.choice(FAULTS)
            exchange.faults.add(place, fault, after=dice.randrange(dice.choice([20, 60, 120])))
        for _ in range(3):
            done = program.run("--symbols", *names, "--source", dice.choice(["auto", "rest"]))
            assert done.returncode in (0, 3, 5), done.stderr
            for series in SERIES:
                there = program.query(f"select to_regclass('public.{series.table_name}') is not null")[0][0]
                stored = program.stored(series.table_name) if there else []
                expected = truth_rows(store.rows(series))
                assert set(stored) <= set(expected)
                assert done.returncode != 0 or stored == expected
            exchange.faults.clear()
            exchange.clock.advance(31 * MS_PER_MINUTE)  # a second answer counts as one from then on
    assert done.returncode == 0, done.stderr
