"""A month of two series through an exchange that often answers wrongly: never a wrong row, never silence."""

from __future__ import annotations

import random

import pytest
from candles import truth_rows
from hostile_market import FAULTS, PLACES, SERIES, SHIFTS_MS, SPAN, hurry, late_line, market
from program import Program, serve

from core.series import Series, parse_series
from core.times import MS_PER_MINUTE, parse_time
from demo.clock import ReplayClock
from demo.faults import AlterArchive
from demo.server import ReplayExchange
from demo.weights import WeightLimits


def young(program: Program, series: Series) -> set[int]:
    """Return the slots that `check` names as too young to be proven: they have no exit code of their own yet."""
    for one in program.run_json("check")["series"]:
        if parse_series(f"{one['market']}:{one['symbol']}/{one['interval']}") == series:
            spans = [(parse_time(span["start"]), parse_time(span["end"])) for span in one["too_young_in"]]
            return {ms for start, end in spans for ms in range(start, end, MS_PER_MINUTE)}
    raise AssertionError(f"check leaves {series} out")


@pytest.mark.parametrize("number", [0, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 2, 3))])
def test_what_is_stored_is_the_truth_and_what_lacks_is_said(program: Program, seed: int, number: int) -> None:
    dice = random.Random(f"{seed}/{number}")
    hurry(program)
    store = market()
    names = [str(series) for series in SERIES]
    limits = WeightLimits(spot=10**7, futures=10**7)
    with ReplayExchange(store, ReplayClock(SPAN.end_ms + 25_000, speed=0.0), weight_limits=limits) as exchange:
        serve(program, exchange)
        # Files that are wrong for good, under checksums that fit: ten days with a candle off the grid.
        shift_ms = dice.choice(SHIFTS_MS)
        shifted = AlterArchive(lambda lines: late_line(lines, shift_ms))
        exchange.faults.add("BTCUSDT-1m-2024-02-1", shifted, times=10**6)
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
                assert (
                    done.returncode != 0 or stored == expected or set(expected) - set(stored) <= young(program, series)
                )
            exchange.faults.clear()
            exchange.clock.advance(31 * MS_PER_MINUTE)  # a second answer counts as one from then on
    assert done.returncode == 0, done.stderr
