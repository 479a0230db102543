"""Why the exchange has no candle: told from longer candles, from the hole's length, from the rest of the market."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from random import Random

import pytest
from candles import batch_of, save_spans
from servers import HAS_TIMESCALE
from stored_series import StoredSeries, stored_series

from core.fetched import FetchedSpan
from core.gaps import Gap, GapStatus, Reason
from core.intervals import INTERVALS
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time, to_datetime
from core.wanted import WantedSeries
from db import many_tables
from db.catalog import sync_symbols
from db.connection import Database
from db.gaps import save_gaps
from db.schema import create_table_if_not_exists
from demo.aggregation import all_intervals
from demo.candle_rows import Row
from demo.candle_store import CandleStore
from demo.decimal_text import SCALES, write_row
from demo.generated_market import generate_series
from demo.random_candles import random_candles
from demo.sessions import sessions, slots
from logic.gaps.checker import fill_missing

BTC, ETH = parse_series("BTCUSDT"), parse_series("ETHUSDT")
SPAN = Span(parse_time("2024-03-04"), parse_time("2024-03-06"))
HOLE = Span(parse_time("2024-03-05T10:10"), parse_time("2024-03-05T11:30"))
NOW_MS = parse_time("2024-05-20T12:00")


def candles(series: Series, span: Span, halts: tuple[Span, ...], wanted: tuple[str, ...]) -> dict[str, list[Row]]:
    """Return the candles of intervals that agree with each other, rows by interval code."""
    times = chain.from_iterable(slots(series.interval, session) for session in sessions(span, halts, ()))
    minutes = list(random_candles(series.market, times, Random(7), 30_000, 0.001))
    scale = SCALES[series.market]
    return {
        interval.code: [write_row(scale, ticks) for ticks in made] for interval, made in all_intervals(minutes, wanted)
    }


@contextmanager
def btc(
    database: Database,
    tmp_path: Path,
    made: dict[str, list[Row]],
    code: str = "1m",
    span: Span = SPAN,
) -> Iterator[StoredSeries]:
    """Yield the series of `code` stored, its longer candles at the exchange."""
    store = CandleStore()
    for other, rows in made.items():
        store.add(BTC.of(INTERVALS[other]), rows)
    series = BTC.of(INTERVALS[code])
    with stored_series(database, tmp_path, store, series, span, NOW_MS) as stored:
        yield stored


def store_other(stored: StoredSeries, series: Series, span: Span, halts: tuple[Span, ...]) -> None:
    with stored.database.transaction("commit") as tx:
        wanted = [WantedSeries(stored.series), WantedSeries(series)]
        series_id = sync_symbols(tx, wanted, replaces_catalog=True)[series].id
        create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
        batch = batch_of(list(generate_series(series, span, 3, halts=halts)))
        save_spans(tx, series_id, series.table_name, [FetchedSpan(span, batch, Source.REST)], "run", NOW_MS)
        absent = [Gap(halt, NOW_MS, NOW_MS, GapStatus.NOT_AT_EXCHANGE) for halt in halts]
        save_gaps(tx, series_id, [], absent)


def judge(stored: StoredSeries, choice: AllowedSources = AllowedSources.AUTO) -> Gap:
    """Return the only gap after two looks."""
    for _ in range(2):
        fill_missing(stored.recheck(choice), [stored.span])
        stored.replay.clock.advance(31 * MS_PER_MINUTE)
        stored.begin_run()
    [gap] = stored.gaps()
    assert gap.status is GapStatus.NOT_AT_EXCHANGE
    return gap


@pytest.mark.parametrize(("code", "longer"), [("1m", "1h"), ("15m", "1h")])
def test_longer_candles_that_hold_no_trade_more_mean_a_halt(
    database: Database, tmp_path: Path, code: str, longer: str
) -> None:
    with btc(database, tmp_path, candles(BTC, SPAN, (HOLE,), (code, longer)), code) as stored:
        gap = judge(stored)
        assert gap.reason is Reason.HALT
        assert gap.reason_note is not None and longer in gap.reason_note


def test_a_halt_of_whole_longer_candles_is_a_halt(database: Database, tmp_path: Path) -> None:
    hole = Span(parse_time("2024-03-05T10:00"), parse_time("2024-03-05T12:00"))
    with btc(database, tmp_path, candles(BTC, SPAN, (hole,), ("1m", "1h"))) as stored:
        gap = judge(stored)
        assert (gap.reason, gap.reason_note) == (Reason.HALT, "no 1h candle either")


@pytest.mark.parametrize(("code", "longer"), [("1m", "1h"), ("1h", "1d"), ("4h", "1d")])
def test_trades_that_only_a_longer_candle_holds_mean_a_lost_record(
    database: Database, tmp_path: Path, code: str, longer: str
) -> None:
    made = candles(BTC, SPAN, (), (code, longer))
    hole = Span(parse_time("2024-03-05T08:00"), parse_time("2024-03-05T16:00"))
    lost = [row for row in made[code] if hole.start_ms <= row[0] < hole.end_ms]
    made[code] = [row for row in made[code] if row not in lost]
    with btc(database, tmp_path, made, code) as stored:
        gap = judge(stored)
        assert gap.reason is Reason.RECORD_LOST
        trades = sum(row[8] for row in lost)
        assert gap.reason_note is not None and f"{trades:,} trades" in gap.reason_note


def test_rows_lost_beside_a_halt_are_not_taken_for_lost_records(database: Database, tmp_path: Path) -> None:
    """They come back first; the longer candles are compared after that."""
    with btc(database, tmp_path, candles(BTC, SPAN, (HOLE,), ("1m", "1h"))) as stored:
        stored.delete([HOLE.end_ms + 3 * MS_PER_MINUTE, HOLE.start_ms - 2 * MS_PER_MINUTE])
        gap = judge(stored)
        assert (gap.span, gap.reason) == (HOLE, Reason.HALT)
        assert stored.rows() == stored.truth()


def test_a_hole_of_more_than_three_days_is_a_symbol_that_came_back(database: Database, tmp_path: Path) -> None:
    span = Span(parse_time("2024-03-04"), parse_time("2024-03-12"))
    for days, reason in ((4, Reason.RELISTED), (2, Reason.HALT)):
        hole = Span(span.start_ms + MS_PER_DAY, span.start_ms + (1 + days) * MS_PER_DAY)
        series = parse_series("BTCUSDT/1h")
        rows = list(generate_series(series, span, 1, halts=(hole,)))
        folder = tmp_path / str(days)
        folder.mkdir()
        with btc(database, folder, {"1h": rows}, "1h", span) as stored:
            assert judge(stored).reason is reason
            stored.execute("drop table {table} cascade")
            stored.execute("delete from public.ohlcv_ledger")
            stored.execute("delete from public.ohlcv_gaps")


def test_without_longer_candles_the_other_series_of_the_market_tell(database: Database, tmp_path: Path) -> None:
    week = parse_series("BTCUSDT/1w")
    span = Span(parse_time("2023-01-02"), parse_time("2023-12-25"))
    hole_ms = parse_time("2023-06-05")
    hole = Span(hole_ms, week.interval.add(hole_ms, 1))
    other = parse_series("ETHUSDT/1w")
    for seed, (halts, reason) in enumerate((((hole,), Reason.HALT), ((), Reason.UNKNOWN))):
        rows = [row for row in generate_series(week, span, 1) if row[0] != hole_ms]
        folder = tmp_path / str(seed)
        folder.mkdir()
        with btc(database, folder, {"1w": rows}, "1w", span) as stored:
            store_other(stored, other, span, halts)
            gap = judge(stored)
            assert gap.reason is reason
            assert gap.reason_note is not None and "1" in gap.reason_note
            stored.execute("delete from public.ohlcv_ledger")
            stored.execute("delete from public.ohlcv_gaps")
            stored.execute("drop table {table}, public." + other.table_name)


def test_another_series_whose_table_somebody_holds_ends_nothing_and_proves_no_halt(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_tables, "_TOGETHER_S", 0.2)
    monkeypatch.setattr(many_tables, "_ALONE_S", 0.1)
    week, others = parse_series("BTCUSDT/1w"), [parse_series("ETHUSDT/1w"), parse_series("SOLUSDT/1w")]
    span = Span(parse_time("2023-01-02"), parse_time("2023-12-25"))
    hole_ms = parse_time("2023-06-05")
    rows = [row for row in generate_series(week, span, 1) if row[0] != hole_ms]
    with btc(database, tmp_path, {"1w": rows}, "1w", span) as stored:
        for other in others:
            store_other(stored, other, span, (Span(hole_ms, week.interval.add(hole_ms, 1)),))
        holder = Database.connect(database_url, {}, "somebody")
        with holder.transaction("hold") as tx:
            tx.cursor.execute(f"lock table public.{others[0].table_name} in access exclusive mode")
            gap = judge(stored)
        holder.close()
        assert gap.reason is Reason.UNKNOWN
        assert gap.reason_note == "1 other stored series of market spot could not be read to compare with"
        stored.replay.clock.advance(2 * MS_PER_DAY)  # its recheck is due
        fill_missing(stored.recheck(), [span])
        assert stored.gaps()[0].reason is Reason.HALT


def test_rows_that_another_series_has_lost_do_not_make_a_halt(database: Database, tmp_path: Path) -> None:
    """Its ledger says that the exchange had them."""
    week, other = parse_series("BTCUSDT/1w"), parse_series("ETHUSDT/1w")
    span = Span(parse_time("2023-01-02"), parse_time("2023-12-25"))
    hole_ms = parse_time("2023-06-05")
    rows = [row for row in generate_series(week, span, 1) if row[0] != hole_ms]
    with btc(database, tmp_path, {"1w": rows}, "1w", span) as stored:
        store_other(stored, other, span, ())
        stored.execute(f"delete from public.{other.table_name} where time = %s", (to_datetime(hole_ms),))
        assert judge(stored).reason is Reason.UNKNOWN


def test_nothing_that_can_tell_leaves_the_reason_unknown(database: Database, tmp_path: Path) -> None:
    series = parse_series("BTCUSDT/1M")
    span = Span(parse_time("2020-01-01"), parse_time("2023-01-01"))
    rows = [row for row in generate_series(series, span, 1) if row[0] != parse_time("2021-05-01")]
    with btc(database, tmp_path, {"1M": rows}, "1M", span) as stored:
        assert judge(stored).reason is Reason.UNKNOWN


def test_a_reason_is_asked_for_once(database: Database, tmp_path: Path) -> None:
    with btc(database, tmp_path, candles(BTC, SPAN, (HOLE,), ("1m", "1h"))) as stored:
        judge(stored)
        stored.replay.clear_requests()
        for _ in range(3):
            stored.replay.clock.advance(MS_PER_HOUR)
            stored.begin_run()
            fill_missing(stored.recheck(), [SPAN])
        assert [record for record in stored.replay.requests if record.params.get("interval") == "1h"] == []


def test_archives_alone_ask_rest_for_no_reason(database: Database, tmp_path: Path) -> None:
    with btc(database, tmp_path, candles(BTC, SPAN, (HOLE,), ("1m", "1h"))) as stored:
        store_other(stored, ETH, SPAN, (HOLE,))
        stored.replay.clear_requests()
        gap = judge(stored, AllowedSources.ARCHIVE)
        assert gap.reason is Reason.HALT
        assert not any(record.path.endswith("/klines") for record in stored.replay.requests)


def test_a_halt_that_five_others_were_judged_to_have_is_not_asked_about_again(
    database: Database, tmp_path: Path
) -> None:
    with btc(database, tmp_path, candles(BTC, SPAN, (HOLE,), ("1m", "1h"))) as stored:
        others = [parse_series(f"A{number}USDT") for number in range(6)]
        judged = Gap(HOLE, NOW_MS, NOW_MS, GapStatus.NOT_AT_EXCHANGE, reason=Reason.HALT, reason_note="no 1h candle")
        shared = replace(judged, reason_note="the same gap in 5 other 1m series, each judged to be a halt")
        wanted = [WantedSeries(one) for one in (stored.series, *others)]
        with database.transaction("note") as tx:
            rows = sync_symbols(tx, wanted, replaces_catalog=True)
            for number, other in enumerate(others):
                save_gaps(tx, rows[other].id, [], [judged if number < 4 else shared])
        assert hours_asked(stored, judge(stored)) > 0  # four that were judged, and two by the word of others
        with database.transaction("note") as tx:
            tx.cursor.execute(
                "update public.ohlcv_gaps set reason_note = 'no 1h candle' where reason_note like 'the %'"
            )
            tx.cursor.execute("update public.ohlcv_gaps set reason = null where series_id = %s", (stored.series_id,))
        stored.replay.clear_requests()
        gap = judge(stored)
        assert (gap.reason, hours_asked(stored, gap)) == (Reason.HALT, 0)
        assert gap.reason_note == "the same gap in 6 other 1m series, each judged to be a halt"


def hours_asked(stored: StoredSeries, _gap: Gap) -> int:
    return sum(record.params.get("interval") == "1h" for record in stored.replay.requests)
