"""`verify --against longer`, and the witnesses that `verify` looks for: what they find, repair and leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from longer_market import CLOSE, LOW, VOLUME, alter_archive, market_of
from witness_bench import BTC, MARCH, PLACE, Bench, bench_of

from core.compare import Kind
from core.exit_codes import EXIT_INCOMPLETE, EXIT_OK
from core.ranges import Span, TimeRange
from core.sources import AllowedSources
from core.times import MS_PER_DAY, MS_PER_MINUTE
from db.catalog import load_catalog
from db.connection import Database
from db.corrections import load_corrected
from db.witness import WitnessTotals
from demo.archive_names import day_of, month_of
from demo.faults import Answer
from logic.gaps.series_check import check_series

CANDLES = 31 * 96
TIME_MS = MARCH.start_ms + PLACE * 15 * MS_PER_MINUTE


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Iterator[Bench]:
    span = Span(MARCH.start_ms - 3 * MS_PER_DAY, MARCH.end_ms + 3 * MS_PER_DAY)
    with bench_of(database, tmp_path, market_of(BTC, span)) as made:
        yield made


def test_what_came_by_rest_is_witnessed_by_a_month_of_hours(bench: Bench) -> None:
    bench.backfill(allowed=AllowedSources.REST)
    assert bench.totals().witnessed == 0
    result = bench.verify()
    assert (result.exit_code, result.differing, bench.totals().witnessed) == (EXIT_OK, 0, CANDLES)
    assert bench.downloads("BTCUSDT-1h-2024-03.zip") == 2  # with its CHECKSUM
    assert bench.downloads("BTCUSDT-15m") == 0


def test_what_came_by_a_stream_is_witnessed_as_rest_is_and_rest_is_no_other_voice(bench: Bench) -> None:
    bench.backfill(allowed=AllowedSources.REST)
    bench.execute("update public.ohlcv_ledger set source = 'stream'")
    hours = BTC.of(bench.hour)
    alter_archive(
        bench.replay.store, hours, month_of(MARCH.start_ms), bench.folder, lambda rows: rows[9].__setitem__(VOLUME, "3")
    )
    bench.replay.clear_requests()
    result = bench.verify()
    assert (result.exit_code, result.differing, bench.totals().witnessed) == (EXIT_OK, 0, CANDLES)
    assert bench.downloads("BTCUSDT-15m-2024-03") > 0  # the hour that differs was looked at by the archives' candles
    assert bench.asked_for("15m") == bench.asked_for("1h") == 0


def test_two_sources_against_the_table_are_repaired_and_the_old_value_is_kept(bench: Bench) -> None:
    bench.alter(VOLUME, "0.00000001")
    bench.backfill()
    found = bench.verify()
    assert (found.exit_code, found.counts[Kind.DIFFERENT], found.repaired) == (EXIT_INCOMPLETE, 1, 0)
    assert bench.rows() != bench.truth()
    repaired = bench.verify(repair=True)
    assert (repaired.exit_code, repaired.repaired) == (EXIT_OK, 1)
    assert bench.rows() == bench.truth()
    with bench.database.transaction("read") as tx:
        assert [count for _, count in load_corrected(tx, "verify")] == [1]
    # The candle that came from REST waits for a witness other than REST; the file's do not.
    assert bench.totals() == WitnessTotals(witnessed=CANDLES - 1)
    again = bench.verify()
    assert (again.exit_code, bench.totals()) == (EXIT_OK, WitnessTotals(witnessed=CANDLES))


def test_an_ordinary_verify_looks_at_the_values_too(bench: Bench) -> None:
    bench.alter(VOLUME, "0.00000001")
    bench.backfill()
    result = bench.verify(only_longer=False)
    assert (result.exit_code, result.counts[Kind.DIFFERENT], result.verified) == (EXIT_INCOMPLETE, 1, 0)


def test_an_ordinary_verify_asks_once_for_a_witness(bench: Bench) -> None:
    bench.backfill()
    asked = bench.asked_for("1h")
    assert bench.verify(only_longer=False).exit_code == EXIT_OK
    assert bench.asked_for("1h") == asked


def test_check_says_what_is_contradicted(bench: Bench) -> None:
    bench.alter(VOLUME, "0.00000001")
    bench.backfill()
    with bench.database.transaction("check") as tx:
        [row] = load_catalog(tx)
        check = check_series(tx, row, TimeRange(), bench.replay.clock.now_ms())
    assert (check.contradicted, check.witnessed, check.is_complete) == (1, 0, False)


def test_the_daily_file_that_says_the_same_as_the_table_confirms_it(bench: Bench) -> None:
    """REST alone differs, in its hours and its candles: two of three are for the table."""
    bench.backfill()
    for series in (BTC, BTC.of(bench.hour)):
        rows = [list(row) for row in bench.replay.store.rows(series, TIME_MS - TIME_MS % 3_600_000, TIME_MS + 1)]
        rows[-1][VOLUME] = "5"
        alter_archive(bench.replay.store, series, day_of(TIME_MS), bench.folder, lambda _rows: None)
        bench.replay.store.add(series, rows)
    bench.execute("update public.ohlcv_ledger set witnessed_at = null")
    result = bench.verify()
    assert (result.exit_code, result.differing, bench.totals().witnessed) == (EXIT_OK, 0, CANDLES)


def test_three_sources_that_all_differ_are_undecided(bench: Bench) -> None:
    bench.alter(VOLUME, "0.00000001")
    bench.backfill()
    alter_archive(
        bench.replay.store, BTC, day_of(TIME_MS), bench.folder, lambda rows: rows[PLACE % 96].__setitem__(VOLUME, "3")
    )
    result = bench.verify(repair=True)
    assert (result.exit_code, result.differing, result.repaired) == (EXIT_INCOMPLETE, 0, 0)
    [(span, why)] = result.unverifiable
    assert span.start_ms <= TIME_MS < span.end_ms and "do not agree" in why
    assert bench.totals().witnessed == 0


def test_no_candle_is_taken_out_because_rest_alone_lacks_it(bench: Bench) -> None:
    bench.backfill()
    before = bench.rows()
    bench.replay.store.remove(BTC, Span(TIME_MS, TIME_MS + 1))
    hours = [list(row) for row in bench.replay.store.rows(BTC.of(bench.hour), TIME_MS - TIME_MS % 3_600_000, TIME_MS)]
    hours[0][VOLUME] = "1"
    bench.replay.store.add(BTC.of(bench.hour), hours)
    bench.replay.faults.add("/daily/klines/BTCUSDT/15m", Answer(404), times=99)
    bench.execute("update public.ohlcv_ledger set witnessed_at = null")
    result = bench.verify(repair=True)
    assert (result.repaired, result.differing) == (0, 0) and len(result.unverifiable) == 1
    assert bench.rows() == before


def test_a_close_inside_the_hour_is_found_by_rest_only(bench: Bench) -> None:
    bench.alter(CLOSE, str(bench.replay.store.rows(BTC, TIME_MS)[0][LOW]))
    bench.backfill()
    assert bench.verify().differing == 0
    assert bench.verify(only_longer=False, allowed=AllowedSources.REST).differing == 1


def test_without_any_file_of_hours_nothing_is_witnessed_and_nothing_wrong(bench: Bench) -> None:
    bench.backfill(allowed=AllowedSources.REST)
    bench.replay.faults.add("BTCUSDT-1h", Answer(404), times=99)
    result = bench.verify()
    assert (result.exit_code, bench.totals()) == (EXIT_OK, WitnessTotals())


def test_a_damaged_span_is_not_repaired_by_its_witness(bench: Bench) -> None:
    """What else is wrong with it would be recorded as committed."""
    bench.alter(VOLUME, "0.00000001")
    bench.backfill()
    bench.execute(f"update public.{BTC.table_name} set close = low where time = '2024-03-20'")
    result = bench.verify(repair=True)
    assert result.repaired == 0 and "not as committed" in result.unverifiable[0][1]


def test_an_earlier_contract_under_a_reused_ticker_is_not_held_against_the_asset_that_is_there_now(
    bench: Bench,
) -> None:
    bench.backfill()
    before = bench.rows()
    bench.execute("update public.ohlcv_series set listing = '2024-03-20T10:15Z'")
    bench.execute("update public.ohlcv_ledger set witnessed_at = null")
    store, later = bench.replay.store, Span(MARCH.start_ms + 20 * MS_PER_DAY, MARCH.end_ms)
    store.remove(BTC, Span(MARCH.start_ms, later.start_ms))
    for series in (BTC, BTC.of(bench.hour)):
        rows = [[row[0] - 20 * MS_PER_DAY, *row[1:]] for row in store.rows(series, later.start_ms, later.end_ms)]
        store.add(series, rows)
    result = bench.verify(repair=True)
    assert (result.differing, result.repaired, result.unverifiable) == (0, 0, [])
    assert bench.rows() == before
