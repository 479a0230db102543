"""`stream` as a user starts and ends it, in real time with candles of a second."""

from __future__ import annotations

import json
import shutil
import signal
import time

from bad_days import bad_day
from live_program import (
    OF_A_SECOND,
    SERIES,
    assert_true_to_the_end,
    kill,
    most_streamed,
    output_of,
    running,
    wait_for_live,
)
from program import Program
from terminal import run_in_terminal

from core.times import iso_ms


def test_it_fetches_streams_and_ends_after_its_time_with_everything_audited(live: Program) -> None:
    done = live.run("stream", "--for", "6s", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["streamed"] == document["live"] == 3
    assert document["stored"] >= 6
    assert document["unsaved"] == document["conflicts"] == 0
    for series in SERIES:
        assert_true_to_the_end(live, series)
    assert live.run("check", "--quiet").returncode == 0


@bad_day("`backfill`, `check --heal` and `verify --repair` beside it", "")
@bad_day("its log folder removed while it runs", "")
def test_killed_it_loses_nothing_and_the_next_start_goes_on_beside_other_runs_until_a_signal(live: Program) -> None:
    with running(live) as process:
        wait_for_live(live, 3)
        kill(live, process)
    before = most_streamed(live)
    with running(live) as process:
        wait_for_live(live, before + 3)
        shutil.rmtree(live.folder / "logs")
        for arguments in (["backfill"], ["verify", "--repair", "--against", "rest"], ["check", "--heal"]):
            done = live.run(*arguments, "--quiet", "--symbols", *map(str, OF_A_SECOND))
            assert done.returncode == 0, done.stdout + done.stderr
        process.send_signal(signal.SIGINT)
        told_s = time.monotonic()
        assert process.wait(20) == 0, output_of(live)
        assert time.monotonic() - told_s < 9
    for series in OF_A_SECOND:
        assert_true_to_the_end(live, series)
    assert "stored live" in output_of(live) and "newest candle" not in output_of(live)  # the table of a terminal
    assert "stopped" in (live.folder / "logs" / "market_data" / "ohlcv_backfill.log").read_text()


def test_without_a_backfill_nothing_older_is_fetched_and_an_unknown_symbol_is_said(live: Program) -> None:
    done = live.run("stream", "--symbols", "BTCUSDT/1s", "NOSUCH/1s", "--no-backfill", "--for", "3s", "--json")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert [one["symbol"] for one in document["left_out"]] == ["NOSUCH"]
    assert document["stored"] >= 1
    assert 1 <= len(live.stored(SERIES[0].table_name)) < 60


def test_trades_and_prices_are_stored_beside_candles_as_the_list_says(live: Program) -> None:
    live.symbols(
        "symbols:\n  - {symbol: BTCUSDT, interval: 1s, streams: [kline, aggtrade, trade, ticker, depth]}\n"
        "  - {symbol: 'um:BTCUSDT', streams: [aggtrade, mark_price, funding_rate, depth_full]}\n"
    )
    live.environment["TICKER_SECONDS"] = "1"
    done = live.run("stream", "--for", "4s", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["streamed"] == 1 and document["records"]["streams"] == 8
    stored = document["records"]["stored"]
    assert (
        set(stored) == {"aggtrade", "trade", "ticker", "mark_price", "depth", "depth_full"}
        and min(stored.values()) >= 2
    )
    of_one_second = live.query(
        "select count(*), count(*) filter (where last_trade_id - first_trade_id + 1 <> (select count(*) from"
        " market_trades where instrument_id = aggregate.instrument_id and trade_id between first_trade_id and"
        " last_trade_id and price = aggregate.price)) from market_agg_trades as aggregate"
        " where source = 'stream' and instrument_id = (select id from market_instruments where market = 'spot')"
        " and first_trade_id > (select min(trade_id) from market_trades)"
        " and last_trade_id < (select max(trade_id) from market_trades)"
    )
    [(trades, wrong)] = of_one_second
    assert trades > 0 and wrong == 0
    assert document["records"]["books_synced"] == 1 and document["records"]["books_syncing"] == []
    levels = "select distinct levels, cardinality(bid_prices), cardinality(ask_quantities) from market_depth"
    assert live.query(levels) == [(20, 20, 20)]
    refused = live.run("stream", "--types", "depth", "--depth", "7", "--for", "1s")
    assert refused.returncode == 2 and "no stream of 7 levels" in refused.stderr
    refused = live.run("stream", "--types", "trade", "--for", "1s")
    assert refused.returncode == 2 and "market um offers no trade" in refused.stderr


def test_a_terminal_shows_a_table_that_is_refreshed_and_a_pipe_nothing_of_it(live: Program) -> None:
    shown = run_in_terminal(live, "stream", "--for", "4s", "--symbols", "BTCUSDT/1s", columns=80, NO_COLOR="1")
    assert shown.code == 0, shown.text
    assert "newest candle" in shown.text and "1 of 1 series live" in shown.text
    assert not shown.has_color
    assert all(len(line) <= 80 for line in shown.lines)
    assert "stored live" in shown.lines[-2]


def test_trades_of_the_past_are_fetched_by_backfill(live: Program) -> None:
    assert live.exchange is not None
    start = iso_ms(live.exchange.clock.now_ms() - 20_000)
    fetch = ("backfill", "--symbols", "BTCUSDT", "--types", "aggtrade", "--start", start, "--json")
    [first] = json.loads(live.run(*fetch).stdout)["results"]
    assert first["inserted"] > 0 and (first["conflicts"], first["missing"]) == (0, {})
    [again] = json.loads(live.run(*fetch).stdout)["results"]
    assert again["already_there"] == first["inserted"]
    [(trades, ids)] = live.query("select count(*), max(agg_id) - min(agg_id) + 1 from market_agg_trades")
    assert trades == ids
    told = live.run("backfill", "--symbols", "um:BTCUSDT", "--types", "funding_rate")
    assert told.returncode == 0 and "um:BTCUSDT funding_rate:" in told.stdout
    for types, symbols, why in (
        ("kline", "BTCUSDT", "candles are what it fetches without --types"),
        ("funding_rate", "BTCUSDT", "market spot offers no funding_rate"),
        ("aggtrade", "BTCUSDT", "say from when on"),
    ):
        refused = live.run("backfill", "--symbols", symbols, "--types", types)
        assert refused.returncode == 2 and why in refused.stderr
