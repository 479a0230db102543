"""The main job on generated and recorded candles: what is stored is the truth, digit for digit."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from candles import truth_rows
from program import Program, serve
from small_market import BTC, HALT, LISTED_MS, NOW_MS, SERIES, truth

from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_DAY, MS_PER_MINUTE, parse_time
from demo.clock import ReplayClock
from demo.recordings import load_recordings
from demo.server import ReplayExchange

ALL = list(SERIES)


def assert_stored_is_truth(program: Program, exchange: ReplayExchange, *texts: str, now_ms: int = NOW_MS) -> None:
    for text in texts:
        series = parse_series(text)
        expected = truth_rows(truth(exchange.store, series, now_ms=now_ms))
        assert program.stored(series.table_name) == expected, text


@pytest.mark.parametrize("source", ["auto", "rest"])
def test_every_series_arrives_complete_and_exact(program: Program, exchange: ReplayExchange, source: str) -> None:
    # By REST alone a halt has been asked for once only: it is named until a second answer, half an hour later.
    document = program.run_json("--symbols", *ALL, "--source", source, expect=3 if source == "rest" else 0)
    assert_stored_is_truth(program, exchange, *ALL)
    sources = document["series"][0]["rows_by_source"]
    assert set(sources) == ({"rest"} if source == "rest" else {"archive-monthly", "archive-daily", "rest"})
    if source == "rest":
        halted = [one["symbol"] + one["interval"] for one in document["series"] if one["unexplained"]]
        assert halted == ["BTCUSDT1m", "ETHUSDT1m", "BTCUSDT1h"]
        exchange.clock.advance(31 * MS_PER_MINUTE)
        document = program.run_json("--symbols", *ALL, "--source", source)
        assert_stored_is_truth(program, exchange, *ALL, now_ms=exchange.clock.now_ms())
    assert {one["outcome"] for one in document["series"]} == {"ok"}


def test_a_second_run_asks_for_no_candle_that_is_covered(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", *ALL)
    exchange.clear_requests()
    document = program.run_json("--symbols", *ALL)
    assert exchange.count("klines") == 0
    assert exchange.count("/data/") == 0
    assert sum(one["inserted"] for one in document["series"]) == 0


def test_the_halt_is_asked_for_and_recorded_as_empty(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT")
    holes = program.query("select span_start::text, span_end::text, source from public.ohlcv_ledger where rows = 0")
    assert holes == [("2024-12-12 02:00:00+00", "2024-12-12 05:10:00+00", "rest")]
    assert not any(HALT.start_ms <= row[0] < HALT.end_ms for row in program.stored("ohlcv_btcusdt"))


def test_the_open_candle_is_never_stored_and_arrives_when_it_has_closed(
    program: Program, exchange: ReplayExchange
) -> None:
    for _ in range(3):
        document = program.run_json("--symbols", "BTCUSDT", "--start", "2025-01-09")
        now_ms = exchange.clock.now_ms()
        newest = program.stored("ohlcv_btcusdt")[-1][0]
        assert newest == BTC.interval.floor(now_ms) - MS_PER_MINUTE
        assert document["series"][0]["conflicts"] == 0
        exchange.clock.advance(7 * MS_PER_MINUTE)
    expected = truth_rows(truth(exchange.store, BTC, parse_time("2025-01-09"), now_ms))
    assert program.stored("ohlcv_btcusdt") == expected


def test_a_candle_that_closed_a_moment_ago_is_left_to_the_next_run(program: Program, exchange: ReplayExchange) -> None:
    minute_ms = parse_time("2025-01-09T12:30")
    exchange.clock.set(minute_ms + 1_000)
    program.run_json("--symbols", "BTCUSDT", "--start", "2025-01-09")
    assert program.stored("ohlcv_btcusdt")[-1][0] == minute_ms - 2 * MS_PER_MINUTE


def test_a_range_is_half_open(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT", "--start", "2024-12-01T10:00", "--end", "2024-12-01T11:00")
    times = [row[0] for row in program.stored("ohlcv_btcusdt")]
    assert (len(times), times[0], times[-1]) == (60, parse_time("2024-12-01T10:00"), parse_time("2024-12-01T10:59"))


def test_a_start_before_the_listing_begins_with_the_first_candle(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "ETHUSDT", "--start", "2017-01-01", "--end", "2024-12-02")
    assert program.stored("ohlcv_ethusdt")[0][0] == LISTED_MS
    assert exchange.count("klines") <= 10  # not a page for each empty month


def test_ranges_that_overlap_are_fetched_once(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT", "--start", "2024-12-03", "--end", "2024-12-05", "--source", "rest")
    document = program.run_json(
        "--symbols", "BTCUSDT", "--start", "2024-12-01", "--end", "2024-12-07", "--source", "rest"
    )
    assert document["series"][0]["rows_by_source"] == {"rest": 4 * 1440}
    assert len(program.stored("ohlcv_btcusdt")) == 6 * 1440


@pytest.mark.long
def test_a_run_killed_at_any_moment_and_started_again_ends_in_the_same_rows(
    program: Program, exchange: ReplayExchange, seed: int
) -> None:
    dice = random.Random(seed)
    for _ in range(8):
        process = program.start("--symbols", *ALL)
        time.sleep(dice.uniform(0.3, 1.6))
        process.kill()
        process.wait()
    program.run_json("--symbols", *ALL)
    assert_stored_is_truth(program, exchange, *ALL)
    rows = program.query("select sum(rows) from public.ohlcv_ledger")[0][0]
    assert rows == sum(len(truth(exchange.store, series)) for series in SERIES.values())


def test_archives_that_cannot_be_had_are_replaced_by_rest(program: Program, exchange: ReplayExchange) -> None:
    with ReplayExchange(exchange.store, exchange.clock, archives=False) as without:
        serve(program, without)
        document = program.run_json("--symbols", "BTCUSDT", expect=3)
    assert document["series"][0]["unexplained_in"] == [{"start": "2024-12-12T02:00:00Z", "end": "2024-12-12T05:10:00Z"}]
    assert document["series"][0]["rows_by_source"].keys() == {"rest"}
    assert_stored_is_truth(program, exchange, "BTCUSDT")


def test_archives_alone_give_what_is_published_and_ask_rest_for_nothing(
    program: Program, exchange: ReplayExchange
) -> None:
    document = program.run_json("--symbols", "ETHUSDT", "--source", "archive", expect=3)
    assert exchange.count("/api/") == 0
    stored = program.stored("ohlcv_ethusdt")
    assert stored == truth_rows(exchange.store.rows(parse_series("ETHUSDT"), 0, parse_time("2025-01-09")))
    # One archive cannot tell a halt from a loss: it is named until a second answer.
    assert document["series"][0]["unexplained_in"] == [{"start": "2024-12-12T02:00:00Z", "end": "2024-12-12T05:10:00Z"}]
    exchange.clock.advance(31 * MS_PER_MINUTE)
    assert program.run_json("--symbols", "ETHUSDT")["series"][0]["unexplained_in"] == []
    assert_stored_is_truth(program, exchange, "ETHUSDT", now_ms=exchange.clock.now_ms())


@pytest.mark.long
def test_a_year_of_recorded_candles_through_archives_and_rest(program: Program, recordings: Path) -> None:
    store = load_recordings(recordings / "spot" / "1m" / "BTCUSDT-2023")
    now_ms = parse_time("2024-01-01T00:00:30")  # December is not out by the month, its last day not at all
    with ReplayExchange(store, ReplayClock(now_ms, speed=0.0)) as exchange:
        serve(program, exchange)
        document = program.run_json("--symbols", "BTCUSDT")
        stored = program.stored("ohlcv_btcusdt")
        assert len(stored) == 525_520
        assert stored == truth_rows(store.rows(BTC, 0, now_ms))
        assert set(document["series"][0]["rows_by_source"]) == {"archive-monthly", "archive-daily", "rest"}
        exchange.clear_requests()
        program.run_json("--symbols", "BTCUSDT")
        assert exchange.count("klines") + exchange.count("/data/") == 0
    # The outage of 2023-03-24: 80 minutes without candles, each asked for, none invented.
    holes = program.query(
        "select extract(epoch from span_start)::bigint, extract(epoch from span_end)::bigint"
        " from public.ohlcv_ledger where rows = 0"
    )
    assert [(start * 1000, end * 1000) for start, end in holes] == [
        (parse_time("2023-03-24T12:40"), parse_time("2023-03-24T14:00"))
    ]
    check = json.loads(program.run("check", "--json").stdout)["series"][0]
    assert (check["expected"], check["stored"], check["missing"], check["not_at_exchange"]) == (525_600, 525_520, 0, 80)


@pytest.mark.parametrize(
    "texts",
    [
        ["BTCUSDT/5m", "ETHUSDT/1d", "um:ETHUSDT/1h"],
        pytest.param(["BTCUSDT/15m", "um:ALGOUSDT", "um:BTCUSDT", "cm:BTCUSD_PERP"], marks=pytest.mark.long),
    ],
    ids=["few", "others"],
)
def test_recorded_irregular_months_and_every_market(program: Program, recordings: Path, texts: list[str]) -> None:
    """Off-grid candles (2018-02), a close before its open (2020-12), ms and us (2024-12, 2025-01), um and cm."""
    store = load_recordings(recordings, only={parse_series(text) for text in texts})
    newest_ms = max(store.open_times(series)[-1] for series in store.series())
    with ReplayExchange(store, ReplayClock(newest_ms + 3 * MS_PER_DAY, speed=0.0)) as exchange:
        serve(program, exchange)
        for text in texts:
            series = parse_series(text)
            times = store.open_times(series)
            for span in recorded_months(list(times)):
                start, end = (f"{ms // 1000}" for ms in (span.start_ms, span.end_ms))
                done = program.run_json("--symbols", text, "--start", iso(int(start)), "--end", iso(int(end)))
                assert done["series"][0]["outcome"] == "ok", text
            assert program.stored(series.table_name) == truth_rows(store.rows(series)), text
    if "BTCUSDT/5m" in texts:
        offgrid = program.query("select count(*) from public.ohlcv_btcusdt_5m where extract(second from time) <> 0")
        assert offgrid == [(241,)]


def recorded_months(times: list[int]) -> list[Span]:
    """Return the spans of days that hold recorded candles, months apart kept apart."""
    days = sorted({time_ms // MS_PER_DAY for time_ms in times})
    spans: list[Span] = []
    for day in days:
        start_ms, end_ms = day * MS_PER_DAY, (day + 1) * MS_PER_DAY
        if spans and start_ms - spans[-1].end_ms <= 2 * MS_PER_DAY:
            spans[-1] = Span(spans[-1].start_ms, end_ms)
        else:
            spans.append(Span(start_ms, end_ms))
    return spans


def iso(seconds: int) -> str:
    from core.times import format_ms

    return format_ms(seconds * 1000)
