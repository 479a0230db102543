"""A halt of today: named at once, said once, and no fault of anybody's until its archive is due."""

from __future__ import annotations

from program import Program
from small_market import NOW_MS, SERIES

from core.ranges import Span
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time
from demo.server import ReplayExchange

HALT = Span(parse_time("2025-01-09T10:00"), parse_time("2025-01-09T10:30"))


def test_a_halt_of_the_whole_exchange_is_said_once_and_proven_when_its_archive_is_out(
    program: Program, exchange: ReplayExchange
) -> None:
    for name in ("BTCUSDT", "ETHUSDT"):
        exchange.store.remove(SERIES[name], HALT)
    program.symbols("symbols: [BTCUSDT, ETHUSDT]\ndefaults: {start: 2025-01-08}\n")
    first = program.run("--quiet")
    assert (first.returncode, first.stderr) == (3, "")
    [line] = [line for line in first.stdout.splitlines() if "no candle" in line]
    assert "BTCUSDT/1m, ETHUSDT/1m: no candle in 2025-01-09T10:00Z .. 2025-01-09T10:30Z, too young to be proven" in line
    for minutes in (5, 35):
        exchange.clock.set(NOW_MS + minutes * MS_PER_MINUTE)
        again = program.run("--quiet")
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    document = program.run_json("check", "--gaps")
    span = {"start": "2025-01-09T10:00:00Z", "end": "2025-01-09T10:30:00Z"}
    for one in document["series"]:
        assert (one["missing"], one["too_young"], one["too_young_in"]) == (0, 30, [span])
        assert [gap["status"] for gap in one["gaps"]] == ["missing"]
    said = " ".join(program.run("check", "--gaps").stdout.split())
    assert "60 too young to be proven" in said and "complete so far" in said
    exchange.clock.set(NOW_MS + 2 * MS_PER_DAY)
    assert program.run_json()["series"][0]["not_at_exchange"] == 30
    assert [one["too_young"] for one in program.run_json("check")["series"]] == [0, 0]


def test_what_nobody_explains_once_the_archive_is_due_is_missing(program: Program, exchange: ReplayExchange) -> None:
    exchange.store.remove(SERIES["BTCUSDT"], HALT)
    program.symbols("symbols: [BTCUSDT]\ndefaults: {start: 2025-01-09}\n")
    assert [program.run().returncode for _ in range(2)] == [3, 0]
    program.query(f"update public.fetch_clock set ahead_ms = ahead_ms + {36 * MS_PER_HOUR}")
    document = program.run_json("check", expect=3)["series"][0]
    assert (document["missing"], document["too_young"]) == (30, 0)


def test_a_candle_that_was_stored_and_is_gone_is_never_too_young(program: Program, exchange: ReplayExchange) -> None:
    program.symbols("symbols: [BTCUSDT]\ndefaults: {start: 2025-01-09}\n")
    program.run_json()
    program.query("delete from public.ohlcv_btcusdt where time = timestamptz '2025-01-09 10:00+00'")
    exchange.store.remove(SERIES["BTCUSDT"], Span(HALT.start_ms, HALT.start_ms + MS_PER_MINUTE))
    assert program.run("--heal-gaps").returncode == 3
    assert program.run_json("check", expect=3)["series"][0]["missing"] == 1
