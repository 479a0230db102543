"""Heals and repairs through an exchange that often answers wrongly: they end in the truth, and never leave it."""

from __future__ import annotations

import random

import pytest
from candles import truth_rows
from hostile_market import FAULTS, PLACES, SERIES, SPAN, hurry, market
from program import Program, serve

from core.times import MS_PER_MINUTE
from demo.clock import ReplayClock
from demo.server import ReplayExchange
from demo.weights import WeightLimits

NAMES = [str(series) for series in SERIES]
COMMANDS = [["check", "--heal"], ["verify", "--repair"], ["verify"], ["--symbols", *NAMES, "--heal-gaps"]]


@pytest.mark.parametrize(
    ("number", "rounds"), [(0, 1), *(pytest.param(number, 3, marks=pytest.mark.long) for number in (1, 2))]
)
def test_what_was_deleted_and_altered_is_the_truth_again(program: Program, seed: int, number: int, rounds: int) -> None:
    dice = random.Random(f"{seed}/{number}")
    hurry(program)
    store = market()
    truth = {series.table_name: truth_rows(store.rows(series)) for series in SERIES}
    limits = WeightLimits(spot=10**6, futures=10**6)
    with ReplayExchange(store, ReplayClock(SPAN.end_ms + 25_000, speed=0.0), weight_limits=limits) as exchange:
        serve(program, exchange)
        assert program.run("--symbols", *NAMES).returncode == 0
        for _ in range(rounds):
            table = dice.choice(list(truth))
            program.query(f"delete from {table} where random() < 0.02")
            some = f"select time from {table} order by random() limit 5"
            program.query(f"update {table} set volume = volume + 1 where time in ({some})")
            for _ in range(25):
                exchange.faults.add(dice.choice(PLACES), dice.choice(FAULTS), after=dice.randrange(40))
            for command in dice.sample(COMMANDS, 3):
                done = program.run(*command)
                assert done.returncode in (0, 3, 5), done.stderr
            exchange.faults.clear()
            for name, rows in truth.items():
                assert {row[0] for row in program.stored(name)} <= {row[0] for row in rows}
        exchange.clock.advance(31 * MS_PER_MINUTE)
        program.run("check", "--heal")
        program.run_json("verify", "--repair")
        for name, rows in truth.items():
            assert program.stored(name) == rows
        exchange.clock.advance(31 * MS_PER_MINUTE)
        program.run("check", "--heal")
        assert program.run_json("check")["complete"] is True
