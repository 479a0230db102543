"""The ledger's spans of one series never overlap: the database itself refuses a second one, and mends old ones once."""

from __future__ import annotations

from pathlib import Path

import pytest
from candles import generated_batch, save_spans
from servers import HAS_TIMESCALE

import db.migrate
from core.errors import SeriesError
from core.fetched import FetchedSpan
from core.ranges import Span
from core.series import parse_series
from core.sources import Source
from core.times import MS_PER_HOUR, parse_time, to_datetime
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.connection import Database
from db.ledger import load_entries
from db.migrate import migrate
from db.schema import create_table_if_not_exists

BTC, ETH = parse_series("BTCUSDT/1h"), parse_series("ETHUSDT/1h")
START_MS = parse_time("2024-03-01")


def hours(first: int, last: int) -> Span:
    return Span(START_MS + first * MS_PER_HOUR, START_MS + last * MS_PER_HOUR)


def enter(database: Database) -> dict[str, int]:
    with database.transaction("enter") as tx:
        rows = sync_symbols(tx, [WantedSeries(BTC), WantedSeries(ETH)], replaces_catalog=True)
        for series in (BTC, ETH):
            create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
    return {"BTC": rows[BTC].id, "ETH": rows[ETH].id}


def save(database: Database, series_id: int, span: Span, run_id: str = "run") -> None:
    series = BTC if series_id == enter(database)["BTC"] else ETH
    with database.transaction("save") as tx:
        fetched = FetchedSpan(span, generated_batch(series, span), Source.ARCHIVE_DAILY)
        save_spans(tx, series_id, series.table_name, [fetched], run_id, START_MS)


@pytest.mark.parametrize("second", [hours(5, 15), hours(0, 10), hours(3, 4), hours(9, 20), hours(0, 1)])
def test_two_runs_that_both_have_a_range_never_both_commit_it(database: Database, second: Span) -> None:
    ids = enter(database)
    save(database, ids["BTC"], hours(0, 10))
    with pytest.raises(SeriesError, match="23P01.*another run has committed"):
        save(database, ids["BTC"], second, "second")
    for span in (hours(10, 20), hours(30, 40)):  # beside it, and one of another series
        save(database, ids["BTC"], span)
    save(database, ids["ETH"], second)
    with database.transaction("read") as tx:
        assert [one.span for one in load_entries(tx, ids["BTC"], BTC.table_name)] == [
            hours(0, 10), hours(10, 20), hours(30, 40)
        ]  # fmt: skip
        tx.cursor.execute("select count(*) from public.ohlcv_btcusdt_1h")
        assert tx.cursor.fetchone() == (30,)


def test_rows_that_overlap_in_an_old_database_are_kept_aside_and_the_first_committed_stays(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database.connect(empty_database_url, {}, "tests")
    folder = Path(db.migrate.__file__).parent / "migrations"
    old = {int(path.name[:4]): path for path in folder.glob("000[1-5]_*.sql")}
    with monkeypatch.context() as patched:
        patched.setattr(db.migrate, "_known_migrations", lambda: dict(sorted(old.items())))
        migrate(database)
    with database.transaction("as two runs at once did") as tx:
        tx.cursor.execute(
            "insert into public.ohlcv_series (symbol, table_name) values ('BTCUSDT', 'b'), ('ETHUSDT', 'e')"
        )
        for series, run, span in (
            (1, "a", hours(0, 10)),
            (1, "b", hours(5, 15)),  # overlaps a
            (1, "c", hours(15, 20)),
            (1, "d", hours(12, 14)),  # overlaps b only, which has gone by then
            (1, "e", hours(0, 10)),
            (2, "f", hours(0, 10)),
            (2, "g", hours(10, 20)),
        ):
            tx.cursor.execute(
                "insert into public.ohlcv_ledger (series_id, span_start, span_end, source, rows, fetched_at, run_id)"
                " values (%s, %s, %s, 'rest', 10, now(), %s)",
                (series, to_datetime(span.start_ms), to_datetime(span.end_ms), run),
            )
    migrate(database)
    assert "2 ledger rows overlapped others and are now in public.ohlcv_ledger_overlaps" in caplog.text
    with database.transaction("look") as tx:
        tx.cursor.execute("select string_agg(run_id, '' order by id) from public.ohlcv_ledger")
        assert tx.cursor.fetchone() == ("acdfg",)
        tx.cursor.execute("select string_agg(run_id, '' order by id) from public.ohlcv_ledger_overlaps")
        assert tx.cursor.fetchone() == ("be",)
    database.close()
