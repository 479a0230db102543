"""What a backfill commits is held against longer candles of another source: what they witness, and what they catch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from longer_market import CLOSE, HIGH, QUOTE, TAKER, TRADES, VOLUME, alter_archive, market_of
from witness_bench import BTC, MARCH, NOW_MS, PLACE, Bench, bench_of

from core.exit_codes import EXIT_INCOMPLETE, EXIT_OK
from core.ranges import Span
from core.series import parse_series
from core.sources import AllowedSources
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE
from db.connection import Database
from db.witness import WitnessTotals
from demo.archive_names import month_of
from demo.faults import Answer


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Iterator[Bench]:
    span = Span(MARCH.start_ms - 3 * MS_PER_DAY, MARCH.end_ms + 60 * MS_PER_DAY)
    with bench_of(database, tmp_path, market_of(BTC, span)) as made:
        yield made


def test_a_month_by_archive_is_witnessed_by_one_page_of_hours(bench: Bench) -> None:
    result = bench.backfill()
    assert (result.outcome, result.contradicted) == ("ok", 0)
    assert bench.totals() == WitnessTotals(witnessed=31 * 96)
    assert bench.asked_for("1h") == 1


@pytest.mark.parametrize("column", [VOLUME, QUOTE, TRADES, TAKER])
def test_an_altered_archive_with_a_valid_checksum_is_caught(bench: Bench, column: int) -> None:
    bench.alter(column, 7 if column == TRADES else "0.00000001")
    result = bench.backfill()
    assert (result.outcome, result.exit_code, result.contradicted) == ("incomplete", EXIT_INCOMPLETE, 1)
    assert bench.totals() == WitnessTotals(witnessed=0, contradicted=1)


def test_a_price_above_the_hour_is_caught(bench: Bench) -> None:
    bench.alter(HIGH, "99999999.01")
    assert bench.backfill().contradicted == 1


def test_a_close_inside_the_hour_is_the_honest_limit(bench: Bench) -> None:
    row = bench.replay.store.rows(BTC, MARCH.start_ms + PLACE * 15 * MS_PER_MINUTE)[0]
    bench.alter(CLOSE, str(row[3]))  # its own low: possible, and no hour's first or last value
    assert PLACE % 4 not in (0, 3)
    assert bench.backfill().contradicted == 0


def test_a_candle_that_the_archive_lacks_is_fetched_and_the_month_witnessed_but_for_it(bench: Bench) -> None:
    alter_archive(bench.replay.store, BTC, month_of(MARCH.start_ms), bench.folder, lambda rows: rows.__delitem__(PLACE))
    result = bench.backfill()
    assert (result.outcome, result.contradicted) == ("ok", 0)
    # Around the hole the candles came by REST, which REST cannot witness.
    assert bench.totals().witnessed == 31 * 96 - 1


def test_what_came_by_rest_is_witnessed_by_the_archive_of_hours(bench: Bench) -> None:
    result = bench.backfill(allowed=AllowedSources.REST)
    assert (result.outcome, bench.totals().witnessed) == ("ok", 0)  # archives are not allowed
    assert bench.downloads("BTCUSDT-1h") == 0


def test_only_archives_are_witnessed_by_the_archive_of_hours(bench: Bench) -> None:
    result = bench.backfill(allowed=AllowedSources.ARCHIVE)
    assert (result.outcome, bench.totals().witnessed) == ("ok", 31 * 96)
    assert bench.downloads("/api/v3/klines") == 0


def test_no_hours_to_be_had_is_no_fault_and_no_witness(bench: Bench) -> None:
    bench.replay.store.remove(parse_series("BTCUSDT/1h"), Span(0, NOW_MS))
    result = bench.backfill()
    assert (result.outcome, result.exit_code, bench.totals()) == ("ok", EXIT_OK, WitnessTotals())


def test_an_exchange_that_refuses_hours_is_no_fault_of_the_series(bench: Bench) -> None:
    bench.replay.faults.add("interval=1h", Answer(400, {"code": -1120, "msg": "Invalid interval."}), times=99)
    result = bench.backfill()
    assert (result.outcome, bench.totals()) == ("ok", WitnessTotals())


def test_hours_that_are_wrong_while_both_sources_agree_with_the_table_witness_it_all_the_same(bench: Bench) -> None:
    hour = parse_series("BTCUSDT/1h")
    rows = [list(row) for row in bench.replay.store.rows(hour, MARCH.start_ms, MARCH.start_ms + MS_PER_HOUR)]
    rows[0][VOLUME] = "1"
    bench.replay.store.add(hour, rows)
    result = bench.backfill()
    assert (result.outcome, result.contradicted, bench.totals().witnessed) == ("ok", 0, 31 * 96)


def test_a_range_that_begins_within_an_hour_leaves_that_hour_unwitnessed(bench: Bench) -> None:
    start_ms = MARCH.start_ms + 15 * MS_PER_MINUTE
    bench.backfill(Span(start_ms, MARCH.end_ms))
    # One ledger span of the month's file, of which the first hour is not whole.
    assert bench.totals().witnessed == 0


def test_a_listing_within_an_hour_is_whole(database: Database, tmp_path: Path) -> None:
    first_ms = MARCH.start_ms + 15 * MS_PER_MINUTE
    with bench_of(database, tmp_path, market_of(BTC, Span(first_ms, MARCH.end_ms))) as bench:
        bench.backfill()
        assert bench.totals().witnessed == 31 * 96 - 1


def test_a_halt_is_no_contradiction(database: Database, tmp_path: Path) -> None:
    halt = Span(MARCH.start_ms + 5 * MS_PER_HOUR, MARCH.start_ms + 8 * MS_PER_HOUR)
    with bench_of(database, tmp_path, market_of(BTC, MARCH, halts=[halt])) as bench:
        result = bench.backfill()
        assert (result.outcome, result.contradicted) == ("ok", 0)


def test_days_are_witnessed_by_hours(database: Database, tmp_path: Path) -> None:
    minutes = parse_series("BTCUSDT/1h")
    with bench_of(database, tmp_path, market_of(minutes, MARCH)) as bench:
        result = bench.backfill(series="BTCUSDT/1d")
        assert (result.outcome, bench.totals().witnessed) == ("ok", 31)


def test_the_days_that_came_by_rest_wait_for_their_witness(bench: Bench) -> None:
    result = bench.backfill(Span(MARCH.end_ms, NOW_MS))
    assert result.outcome == "ok"
    assert bench.totals().witnessed == 30 * 96  # April by its file; May by REST, cheaper than its daily files


def test_a_file_that_is_wrong_all_over_does_not_fill_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def change(rows: list[list[object]]) -> None:
        for row in rows[:100]:
            row[VOLUME] = "0.00000001"

    alter_archive(bench.replay.store, BTC, month_of(MARCH.start_ms), bench.folder, change)
    assert bench.backfill().contradicted == 100
    told = [one for one in caplog.records if "second_opinion" in one.name and one.levelname == "WARNING"]
    assert len(told) == 21 and "not logged one by one" in told[-1].getMessage()
