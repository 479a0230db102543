"""A file that the archives lack for good, where REST may not be asked: a named gap with evidence, no fault for ever."""

from __future__ import annotations

from candles import truth_rows
from program import Program
from small_market import BTC

from core.ranges import Span
from core.times import parse_time
from demo.server import ReplayExchange

RANGE = ("--symbols", "BTCUSDT", "--start", "2024-12-13", "--source", "archive")


def set_clocks(program: Program, exchange: ReplayExchange, now_ms: int) -> None:
    """Set the exchange's clock and this machine's: a run that may not ask REST goes by its own."""
    exchange.clock.set(now_ms)
    folder = program.folder / "clock"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import time\nbegan, clock = time.time_ns(), time.time_ns\n"
        f"time.time_ns = lambda: {now_ms * 1_000_000} + clock() - began\ntime.time = lambda: time.time_ns() / 1e9\n"
    )
    program.settings["PYTHONPATH"] = str(folder)


def test_a_day_that_no_archive_has_becomes_an_explained_gap_and_comes_when_it_is_published(
    program: Program, exchange: ReplayExchange
) -> None:
    lost = Span(parse_time("2024-12-20"), parse_time("2024-12-21"))
    rows = exchange.store.rows(BTC, lost.start_ms, lost.end_ms)
    exchange.store.remove(BTC, lost)  # a day without rows has no file
    set_clocks(program, exchange, parse_time("2024-12-26T12:00"))
    first = program.run_json(*RANGE, "--end", "2024-12-24", expect=3)["series"][0]
    assert (first["too_young"], first["unexplained"]) == (1440, 0)
    again = program.run(*RANGE, "--end", "2024-12-24", "--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")  # said once: files do come late
    set_clocks(program, exchange, parse_time("2025-01-05"))  # later than any file was ever seen to be
    document = program.run_json(*RANGE, "--end", "2024-12-24")["series"][0]
    assert document["not_at_exchange"] == 1440
    check = program.run_json("check", "--symbols", "BTCUSDT", "--gaps")["series"][0]
    [gap] = check["gaps"]
    assert (check["complete"], gap["status"], gap["reason"]) == (True, "not_at_exchange", "not-in-archives")
    assert program.run("verify", "--against", "archive").returncode == 0
    exchange.store.add(BTC, rows)
    set_clocks(program, exchange, parse_time("2025-01-06T00:01"))
    healed = program.run_json(*RANGE, "--end", "2024-12-24")["series"][0]
    assert healed["healed"] == 1440
    everything = exchange.store.rows(BTC, parse_time("2024-12-13"), parse_time("2024-12-24"))
    assert program.stored("ohlcv_btcusdt") == truth_rows(everything)
    assert program.run("check").returncode == 0
