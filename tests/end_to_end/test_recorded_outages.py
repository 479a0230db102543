"""Recorded outages through the program: every known halt ends as absent with evidence, every lost row as healed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from candles import truth_rows
from program import Program, serve

from core.candles import missing_spans
from core.ranges import Span, merge
from core.series import Series, parse_series
from core.times import MS_PER_DAY, MS_PER_MINUTE, format_ms, parse_time, to_datetime
from db.connection import Database
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.recordings import identify, read_rows
from demo.server import ReplayExchange

# Where a series is recorded, which days of it, and its known outages; None: whatever the recording lacks.
MARCH_2023, FIRST_OF_2021 = ("2023-03-01", "2023-04-01"), ("2021-01-01", "2021-04-01")
CASES: dict[str, tuple[str, tuple[str, str], list[tuple[str, str]] | None]] = {
    "BTCUSDT": ("1m/BTCUSDT-2023/BTCUSDT-1m-2023-03-*", MARCH_2023, [("2023-03-24T12:40", "2023-03-24T14:00")]),
    "BTCUSDT/15m": ("15m/BTCUSDT-2023-03/*", MARCH_2023, [("2023-03-24T12:45", "2023-03-24T14:00")]),
    "BTCUSDT/1h": (
        "1h/monthly/*2021-Q1*",
        FIRST_OF_2021,
        [("2021-02-11T04:00", "2021-02-11T05:00"), ("2021-03-06T02:00", "2021-03-06T03:00")],
    ),
    "BTCUSDT/5m": (
        "5m/BTCUSDT/*2018-02*",
        ("2018-02-01", "2018-03-01"),
        [
            ("2018-02-08T00:30", "2018-02-09T09:55"),
            ("2018-02-10T06:00", "2018-02-10T06:15"),
            ("2018-02-11T04:05", "2018-02-11T04:35"),
        ],
    ),
    "BTCUSDT/5m of 2020-12": ("5m/BTCUSDT/*2020-12*", ("2020-12-01", "2021-01-01"), None),
}
IN_THE_SUITE = "BTCUSDT/15m"


def recorded(folder: Path, series: Series, pattern: str) -> CandleStore:
    store = CandleStore()
    for path in sorted((folder / "spot").glob(pattern)):
        recording = identify(path)
        if recording is not None and recording.series == series:
            store.add(series, read_rows(path))
    return store


def gaps(program: Program) -> dict[str, list[Span]]:
    """Return the spans of all gaps that ever were, merged, by status."""
    rows = program.query(
        "select status, (extract(epoch from gap_start) * 1000)::bigint, (extract(epoch from gap_end) * 1000)::bigint"
        " from public.ohlcv_gaps"
    )
    found: dict[str, list[Span]] = {}
    for status, start_ms, end_ms in rows:
        found.setdefault(status, []).append(Span(start_ms, end_ms))
    return {status: merge(spans) for status, spans in found.items()}


def delete(program: Program, table: str, times: list[int]) -> None:
    database = Database.connect(program.database_url, {}, "somebody")
    try:
        with database.transaction("delete") as tx:
            moments = [to_datetime(ms) for ms in times]
            tx.cursor.execute(f"delete from public.{table} where time = any(%s)", (moments,))
            assert tx.cursor.rowcount == len(times)
    finally:
        database.close()


def neighbours(times: list[int], halt: Span) -> list[int]:
    """Return the two candles before the halt and the two after it."""
    return [ms for ms in times if ms < halt.start_ms][-2:] + [ms for ms in times if ms >= halt.end_ms][:2]


@pytest.mark.parametrize(
    "case", [case if case == IN_THE_SUITE else pytest.param(case, marks=pytest.mark.long) for case in CASES]
)
def test_known_halts_end_absent_and_lost_rows_healed_and_the_two_are_never_mixed_up(
    program: Program, recordings: Path, seed: int, case: str
) -> None:
    series = parse_series(case.split(" ")[0])
    pattern, (start, end), known = CASES[case]
    store = recorded(recordings, series, pattern)
    span = Span(parse_time(start), parse_time(end))
    times = list(store.open_times(series))
    halts = missing_spans(times, series.interval, span)
    assert halts, "the recording holds an outage"
    if known is not None:
        assert halts == [Span(parse_time(a), parse_time(b)) for a, b in known]
    dice = random.Random(f"{seed}/{case}")
    # Rows on both sides of every halt, the first and the last, a run, and some anywhere.
    beside = [ms for halt in halts for ms in neighbours(times, halt)]
    first = dice.randrange(len(times) - 50)
    lost = sorted({times[0], times[-1], *beside, *times[first : first + 37], *dice.sample(times, 40)})
    with ReplayExchange(store, ReplayClock(span.end_ms + 40 * MS_PER_DAY, speed=0.0)) as exchange:
        serve(program, exchange)
        bounds = ("--start", format_ms(span.start_ms), "--end", format_ms(span.end_ms))
        program.run("--symbols", str(series), *bounds)
        delete(program, series.table_name, lost)
        check = program.run_json("check", expect=3)["series"][0]
        slots = {series.interval.floor(ms) for ms in lost}
        assert check["missing"] - sum(series.interval.count(h.start_ms, h.end_ms) for h in halts) <= len(slots)
        assert check["missing"] >= len(slots)
        program.run("check", "--heal")
        exchange.clock.advance(31 * MS_PER_MINUTE)
        document = program.run_json("check", "--heal")
        assert program.stored(series.table_name) == truth_rows(store.rows(series))
        found = gaps(program)
        assert found.keys() == {"not_at_exchange", "healed"}
        assert found["not_at_exchange"] == halts
        assert found["healed"] == merge(Span(ms, series.interval.add(ms, 1)) for ms in slots)
        [report] = document["series"]
        assert report["not_at_exchange"] == sum(series.interval.count(halt.start_ms, halt.end_ms) for halt in halts)
        assert all(gap["evidence"] and gap["reason"] for gap in report["gaps"])
        for gap in report["gaps"]:
            sources = {answer["source"] for answer in gap["evidence"]}
            by_rest = [answer for answer in gap["evidence"] if answer["source"] == "rest"]
            assert len(sources) == 2 or by_rest[0]["times"] > 1
        exchange.clear_requests()
        program.run_json("check", "--heal")
        program.run_json("--symbols", str(series), *bounds)
        assert exchange.count("/api/v3/klines") + exchange.count("/data/") == 0
        verified = program.run_json("verify")["series"][0]
        assert (verified["missing"], verified["extra"], verified["different"]) == (0, 0, 0)
