"""Longer candles held against the stored 1m candles of their symbol: agreement, damage, and what cannot be judged."""

from __future__ import annotations

from itertools import chain
from random import Random

import pytest
from candles import batch_of, save_spans
from servers import HAS_TIMESCALE

from core.exit_codes import EXIT_INCOMPLETE, EXIT_OK
from core.fetched import FetchedSpan
from core.gaps import Gap, GapStatus, Reason
from core.intervals import INTERVALS
from core.listing import ListingPeriod
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time, to_datetime
from core.wanted import WantedSeries
from db.catalog import CatalogRow, load_catalog, sync_symbols, update_listing
from db.connection import Database
from db.gaps import save_gaps
from db.schema import create_table_if_not_exists
from demo.aggregation import all_intervals
from demo.candle_rows import Row
from demo.decimal_text import SCALES, write_row
from demo.random_candles import random_candles
from demo.sessions import sessions, slots
from logic.verify.aggregate_check import AggregateResult, aggregate_exit_code, check_aggregates

MINUTES = parse_series("BTCUSDT")
SPAN = Span(parse_time("2024-02-26"), parse_time("2024-03-04"))
HALT = Span(parse_time("2024-02-28T10:10"), parse_time("2024-02-28T13:30"))
HALT_HOUR_MS = parse_time("2024-02-28T10:00")
CODES = ("3m", "5m", "1h", "4h", "12h", "1d", "1w")
NOW_MS = parse_time("2024-06-01")


def series_of(code: str) -> Series:
    return MINUTES.of(INTERVALS[code])


def agreeing(span: Span = SPAN, codes: tuple[str, ...] = CODES) -> dict[str, list[Row]]:
    times = chain.from_iterable(slots(MINUTES.interval, session) for session in sessions(span, (HALT,), ()))
    minutes = list(random_candles(MINUTES.market, times, Random(7), 30_000, 0.01))
    made = all_intervals(minutes, ("1m", *codes))
    return {interval.code: [write_row(SCALES[MINUTES.market], one) for one in ticks] for interval, ticks in made}


def commit(database: Database, made: dict[str, list[Row]], span: Span = SPAN) -> dict[str, CatalogRow]:
    with database.transaction("commit") as tx:
        wanted = [WantedSeries(series_of(code)) for code in made]
        rows = sync_symbols(tx, wanted, replaces_catalog=True)
        for code, candles in made.items():
            series = series_of(code)
            create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
            whole = Span(series.interval.floor(span.start_ms), series.interval.ceil(span.end_ms))
            fetched = FetchedSpan(whole, batch_of(candles), Source.REST)
            save_spans(tx, rows[series].id, series.table_name, [fetched], "run", NOW_MS)
    return catalog(database)


def catalog(database: Database) -> dict[str, CatalogRow]:
    with database.transaction("read") as tx:
        return {row.series.interval.code: row for row in load_catalog(tx)}


def judge(
    database: Database, start_ms: int | None = None, end_ms: int | None = None
) -> tuple[dict[str, AggregateResult], int]:
    results = check_aggregates(database, list(catalog(database).values()), start_ms, end_ms)
    return {one.series.interval.code: one for one in results}, aggregate_exit_code(results)


def execute(database: Database, statement: str, *times: int) -> None:
    with database.transaction("execute") as tx:
        tx.cursor.execute(statement, [to_datetime(ms) for ms in times])


def note(database: Database, series_id: int, gap: Gap) -> None:
    with database.transaction("note a gap") as tx:
        save_gaps(tx, series_id, [], [gap])


def test_every_interval_agrees_with_its_1m_candles_over_a_halt(database: Database) -> None:
    made = agreeing()
    commit(database, made)
    results, exit_code = judge(database)
    assert exit_code == EXIT_OK
    assert results.keys() == set(CODES)
    for code, result in results.items():
        assert (result.compared, result.differing, result.not_judged) == (len(made[code]), 0, 0), code


def test_a_table_that_somebody_has_locked_is_told_and_the_others_are_judged(
    database: Database, database_url: str
) -> None:
    commit(database, agreeing(codes=("1h", "4h")))
    execute(database, "set lock_timeout = '100ms'")
    somebody = Database.connect(database_url, {}, "somebody")
    with somebody.transaction("lock") as tx:
        tx.cursor.execute("lock table public.ohlcv_btcusdt_1h")
        results, exit_code = judge(database)
    somebody.close()
    assert exit_code == EXIT_INCOMPLETE
    assert "another session has locked it" in str(results["1h"].why_not)
    assert results["4h"].why_not is None and results["4h"].compared


def test_a_month_that_holds_the_listing_is_judged(database: Database) -> None:
    listed = Span(parse_time("2024-02-10T04:00"), parse_time("2024-04-01"))
    made = agreeing(listed, ("1M",))
    rows = commit(database, {"1M": made["1M"]}, listed)
    with database.transaction("commit") as tx:
        wanted = [WantedSeries(one) for one in (MINUTES, series_of("1M"))]
        minute_id = sync_symbols(tx, wanted, replaces_catalog=True)[MINUTES].id
        create_table_if_not_exists(tx, MINUTES, timescale=HAS_TIMESCALE, compress_after_days=0)
        fetched = FetchedSpan(listed, batch_of(made["1m"]), Source.REST)
        save_spans(tx, minute_id, MINUTES.table_name, [fetched], "run", NOW_MS)
    assert rows["1M"].listing.first_ms is None
    results, _ = judge(database)
    assert (results["1M"].compared, results["1M"].not_judged) == (1, 1)
    with database.transaction("list") as tx:
        update_listing(tx, minute_id, ListingPeriod(listed.start_ms, None, "TRADING"))
    results, exit_code = judge(database)
    assert (results["1M"].compared, results["1M"].not_judged, exit_code) == (2, 0, EXIT_OK)


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("open = open + 0.01", "open"),
        ("high = high + 0.01", "high"),
        ("low = low - 0.01", "low"),
        ("close = close - 0.01", "close"),
        ("volume = volume + 0.00000001", "volume"),
        ("quote_volume = quote_volume + 0.00000001", "quote_volume"),
        ("trades = trades + 1", "trades"),
        ("taker_buy_volume = volume - taker_buy_volume + 1", "taker_buy_volume"),
        ("taker_buy_quote_volume = 0.5", "taker_buy_quote_volume"),
    ],
)
def test_each_value_is_compared(database: Database, assignment: str, named: str) -> None:
    commit(database, agreeing(codes=("1h", "4h")))
    at_ms = parse_time("2024-02-29T08:00")
    execute(database, f"update public.ohlcv_btcusdt_1h set {assignment} where time = %s", at_ms)
    results, exit_code = judge(database)
    assert (exit_code, results["1h"].differing, results["4h"].differing) == (EXIT_INCOMPLETE, 1, 0)
    [difference] = results["1h"].shown
    assert difference.time_ms == at_ms
    assert [text.split(" ")[0] for text in difference.differing()] == [named]


def test_an_altered_1m_candle_shows_in_every_longer_one(database: Database) -> None:
    commit(database, agreeing())
    execute(
        database, "update public.ohlcv_btcusdt set trades = trades + 1 where time = %s", parse_time("2024-02-29T08:07")
    )
    results, _ = judge(database)
    assert {result.differing for result in results.values()} == {1}


def test_a_lost_longer_candle_and_one_made_up_are_told_apart(database: Database) -> None:
    commit(database, agreeing(codes=("1h",)))
    execute(database, "delete from public.ohlcv_btcusdt_1h where time = %s", parse_time("2024-02-29T08:00"))
    execute(
        database,
        "insert into public.ohlcv_btcusdt_1h select %s, open, high, low, close, volume, quote_volume, trades,"
        " taker_buy_volume, taker_buy_quote_volume from public.ohlcv_btcusdt_1h where time = %s",
        parse_time("2024-02-28T11:00"),
        parse_time("2024-02-28T08:00"),
    )
    results, _ = judge(database)
    told = {one.time_ms: one.differing() for one in results["1h"].shown}
    assert told == {
        parse_time("2024-02-28T11:00"): ["no 1m candle stored"],
        parse_time("2024-02-29T08:00"): ["no candle stored"],
    }


def test_slots_whose_1m_candles_are_not_all_there_are_not_judged(database: Database) -> None:
    rows = commit(database, agreeing(codes=("1h", "1d")))
    lost = Span(parse_time("2024-02-29T08:10"), parse_time("2024-02-29T08:20"))
    execute(database, "delete from public.ohlcv_btcusdt where time >= %s and time < %s", lost.start_ms, lost.end_ms)
    results, _ = judge(database)
    assert (results["1h"].differing, results["1d"].differing) == (1, 1)  # nobody knows yet that they are lost
    note(database, rows["1m"].id, Gap(lost, NOW_MS, NOW_MS))
    results, exit_code = judge(database)
    assert [(one.differing, one.not_judged) for one in results.values()] == [(0, 1), (0, 1)]
    assert exit_code == EXIT_OK


def test_a_difference_that_a_lost_record_explains_is_no_damage(database: Database) -> None:
    rows = commit(database, agreeing(codes=("1h", "1d")))
    lost = Span(parse_time("2024-02-29T08:10"), parse_time("2024-02-29T08:20"))
    execute(database, "delete from public.ohlcv_btcusdt where time >= %s and time < %s", lost.start_ms, lost.end_ms)
    note(database, rows["1m"].id, Gap(lost, NOW_MS, NOW_MS, GapStatus.NOT_AT_EXCHANGE, reason=Reason.RECORD_LOST))
    results, exit_code = judge(database)
    assert [(one.differing, one.explained) for one in results.values()] == [(0, 1), (0, 1)]
    assert exit_code == EXIT_OK


def test_a_halt_does_not_explain_a_difference(database: Database) -> None:
    rows = commit(database, agreeing(codes=("1h",)))
    note(database, rows["1m"].id, Gap(HALT, NOW_MS, NOW_MS, GapStatus.NOT_AT_EXCHANGE, reason=Reason.HALT))
    execute(database, "update public.ohlcv_btcusdt_1h set trades = trades + 5 where time = %s", HALT_HOUR_MS)
    results, exit_code = judge(database)
    assert (results["1h"].differing, results["1h"].explained, exit_code) == (1, 0, EXIT_INCOMPLETE)


def test_only_the_range_that_is_asked_for_is_judged_and_only_whole_candles(database: Database) -> None:
    commit(database, agreeing(codes=("1h", "1d")))
    start_ms, end_ms = parse_time("2024-02-29T00:30"), parse_time("2024-03-02T00:00")
    results, _ = judge(database, start_ms, end_ms)
    assert (results["1h"].compared, results["1d"].compared) == (47, 1)
    execute(database, "update public.ohlcv_btcusdt_1h set trades = 0 where time = %s", parse_time("2024-02-29T00:00"))
    results, exit_code = judge(database, start_ms, end_ms)
    assert (results["1h"].differing, exit_code) == (0, EXIT_OK)


def test_where_1m_begins_later_the_rest_is_judged(database: Database) -> None:
    made = agreeing(codes=("1h",))
    late_ms = SPAN.start_ms + 2 * MS_PER_DAY + 30 * MS_PER_MINUTE
    commit(database, {"1h": made["1h"]})
    with database.transaction("commit") as tx:
        wanted = [WantedSeries(one) for one in (MINUTES, series_of("1h"))]
        minute_id = sync_symbols(tx, wanted, replaces_catalog=True)[MINUTES].id
        create_table_if_not_exists(tx, MINUTES, timescale=HAS_TIMESCALE, compress_after_days=0)
        candles = [row for row in made["1m"] if row[0] >= late_ms]
        fetched = FetchedSpan(Span(late_ms, SPAN.end_ms), batch_of(candles), Source.REST)
        save_spans(tx, minute_id, MINUTES.table_name, [fetched], "run", NOW_MS)
    results, exit_code = judge(database)
    assert (results["1h"].not_judged, results["1h"].differing, exit_code) == (49, 0, EXIT_OK)
    hours = sum(row[0] >= late_ms + 30 * MS_PER_MINUTE for row in made["1h"])
    assert results["1h"].compared == hours
    assert hours <= (SPAN.end_ms - late_ms) // MS_PER_HOUR


def test_without_1m_candles_nothing_can_be_said(database: Database) -> None:
    commit(database, {"1h": agreeing(codes=("1h",))["1h"]})
    results, exit_code = judge(database)
    assert (results["1h"].why_not, exit_code) == ("no 1m candles of the symbol are stored", EXIT_INCOMPLETE)
