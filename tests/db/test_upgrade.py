"""A database that an earlier version of the program left behind is carried over by the migrations, with all it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg2
import pytest
from candles import stored_rows
from stored_series import StoredSeries, addresses_of
from timescale import STORAGES, compress_table, timescale_database

import db.migrate
from core.gaps import Answer, EventKind, Gap, GapStatus, Reason
from core.listing import UNLISTED, ListingPeriod
from core.ranges import Span, TimeRange
from core.series import Series, parse_series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time, to_datetime
from db.catalog import CatalogRow, load_catalog
from db.connection import Database
from db.corrections import load_corrected
from db.external_changes import is_watched, last_external_change
from db.gaps import load_open_gaps, save_gaps
from db.ledger import LedgerEntry, load_entries
from db.migrate import OWN_TABLES, applied_versions, is_migrated, migrate
from db.schema import find_tables
from demo.candle_rows import Row
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from fetcher.binance.exchange import BinanceExchange
from logic.gaps.checker import fill_missing
from logic.gaps.series_check import SeriesCheck, check_series
from logic.verify.undo import undo_repair
from logic.verify.verification import SeriesVerification, VerifyObserver
from logic.verify.verify_run import VerifyOptions, run_verify

DUMP = Path(__file__).parent / "upgrades" / "0003.sql"
MIGRATIONS = Path(db.migrate.__file__).parent / "migrations"
BTC, ETH, SOL = parse_series("BTCUSDT/1h"), parse_series("um:ETHUSDT/4h"), parse_series("SOLUSDT/1h")
GONE, QUIET, SOON = parse_series("GONEUSDT/1h"), parse_series("QUIETUSDT/1d"), parse_series("SOONUSDT/1h")
WEEKLY = parse_series("cm:BTCUSD_PERP/1w")
NOW_MS = parse_time("2024-03-12T12:30")  # when the program of version 3 last ran
WHOLE = Span(parse_time("2024-03-01"), parse_time("2024-03-12T12:00"))

# What `check` of version 3 said: expected, stored, not at the exchange, missing, too many, altered spans, complete.
SAID_BEFORE = {
    BTC: (276, 261, 9, 6, 0, 0, False),
    ETH: (69, 69, 0, 0, 0, 1, False),
    WEEKLY: (10, 10, 0, 0, 0, 0, True),
    GONE: (24, 24, 0, 0, 0, 0, True),
    QUIET: (19, 19, 0, 0, 0, 0, True),
    SOON: (0, 0, 0, 0, 0, 0, True),
    SOL: (24, 24, 0, 0, 0, 0, True),
}


def hours(start: str, end: str) -> Span:
    return Span(parse_time(start), parse_time(end))


REOPENED = hours("2024-03-03T05:00", "2024-03-03T09:00")
LOST = hours("2024-03-10T03:00", "2024-03-10T05:00")
MERGED = hours("2024-03-06T22:00", "2024-03-07T02:00")


@pytest.fixture(params=STORAGES)
def old(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The database as version 3 left it; with TimescaleDB all its candles are in compressed chunks."""
    with ExitStack() as opened:
        is_compressed = request.param == "compressed"
        url = (
            opened.enter_context(timescale_database())
            if is_compressed
            else request.getfixturevalue("empty_database_url")
        )
        connection = psycopg2.connect(url)
        with connection, connection.cursor() as cursor:
            cursor.execute(DUMP.read_text(encoding="utf-8"))
        connection.close()
        connected = Database.connect(url, {}, "tests")
        opened.callback(connected.close)
        for series in SAID_BEFORE if is_compressed else ():
            with connected.transaction("compress") as tx:
                compress_table(tx, f"public.{series.table_name}", watched=False)
        yield connected


@pytest.fixture
def upgraded(old: Database) -> Database:
    migrate(old)
    return old


def rows_of(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.transaction("read") as tx:
        tx.cursor.execute(query)
        return tx.cursor.fetchall()


def catalog(database: Database) -> dict[Series, CatalogRow]:
    with database.transaction("read") as tx:
        return {row.series: row for row in load_catalog(tx)}


def entries(database: Database, series: Series) -> list[LedgerEntry]:
    series_id = catalog_id(database, series)
    with database.transaction("read") as tx:
        return load_entries(tx, series_id, series.table_name)


def catalog_id(database: Database, series: Series) -> int:
    return catalog(database)[series].id


def check(database: Database, series: Series) -> SeriesCheck:
    row = catalog(database)[series]
    with database.transaction("check") as tx:
        return check_series(tx, row, TimeRange(), NOW_MS)


def gaps_of(database: Database, series: Series = BTC) -> dict[Span, Gap]:
    series_id = catalog_id(database, series)
    with database.transaction("read") as tx:
        return {gap.span: gap for gap in load_open_gaps(tx, series_id)}


@pytest.mark.parametrize("old", ["plain"], indirect=True)
def test_the_columns_are_those_of_a_new_database(old: Database, database: Database) -> None:
    own = (
        "select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns"
        " where table_schema = 'public' and table_name in (select relname from pg_class where relkind = 'r')"
        " and not (table_name like 'ohlcv\\_%usd%') order by table_name, column_name"
    )
    names = (
        "select conname, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'public'::regnamespace"
        " and not (conname like 'ohlcv\\_%usd%') union all"
        " select indexname, indexdef from pg_indexes where schemaname = 'public' and not (tablename like '%usd%')"
        " union all select proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace order by 1, 2"
    )
    assert rows_of(old, own) != rows_of(database, own)
    migrate(old)
    assert rows_of(old, own) == rows_of(database, own)
    assert rows_of(old, names) == rows_of(database, names)
    with old.transaction("look") as tx:
        assert is_migrated(tx)


def test_no_word_of_the_old_version_is_left(upgraded: Database) -> None:
    words = rows_of(
        upgraded,
        "select attname::text from pg_attribute join pg_class on attrelid = pg_class.oid"
        " where relnamespace = 'public'::regnamespace union select tgname from pg_trigger"
        " union select relname from pg_class where relnamespace = 'public'::regnamespace"
        " union select status from public.ohlcv_gaps union select status from public.ohlcv_series",
    )
    old_words = {"lost", "looks", "next_look", "proven_at", "proven_before", "tried_at", "note", "silence_asked_at"}
    assert not {str(word) for (word,) in words} & {*old_words, "absent", "VANISHED"}
    assert not [word for (word,) in words if "foreign" in str(word)]


def test_candles_are_untouched(old: Database) -> None:
    def candles() -> dict[Series, object]:
        with old.transaction("read") as tx:
            return {series: stored_rows(tx, series.table_name) for series in SAID_BEFORE}

    before = candles()
    migrate(old)
    assert candles() == before
    with old.transaction("look") as tx:
        tables = find_tables(tx, [series.table_name for series in SAID_BEFORE])
    assert {name: shape.faults for name, shape in tables.items()} == {one.table_name: [] for one in SAID_BEFORE}


def test_listings_are_read_as_they_were_known(upgraded: Database) -> None:
    rows = catalog(upgraded)
    assert {series: rows[series].active for series in rows} == {series: series != SOL for series in SAID_BEFORE}
    begin = parse_time("2024-03-01")
    used = "ticker used before: the archives also hold ETHUSDTSETTLED"
    assert rows[BTC].listing == ListingPeriod(begin, None, "TRADING")
    assert rows[ETH].listing == ListingPeriod(begin, None, "TRADING", notes=(used, "ask Ann"))
    gone = hours("2024-02-20T03:00", "2024-02-21T03:00")
    assert rows[GONE].listing == ListingPeriod(gone.start_ms, gone.end_ms, UNLISTED)
    assert rows[SOON].listing == ListingPeriod(None, None, "PRE_TRADING", is_pending=True)
    quiet = rows[QUIET].listing
    assert (quiet.first_ms, quiet.end_ms, quiet.status) == (*map(parse_time, ("2024-02-01", "2024-02-20")), "TRADING")
    assert quiet.dormant_checked_ms is not None
    assert quiet.dormant_checked_ms // MS_PER_MINUTE * MS_PER_MINUTE == parse_time("2024-03-08T12:30")
    assert rows[BTC].checked_at_ms == NOW_MS


def test_gaps_are_read_with_their_evidence(upgraded: Database) -> None:
    gaps = gaps_of(upgraded)
    absent, missing = GapStatus.NOT_AT_EXCHANGE, GapStatus.MISSING
    assert {span: (gap.status, gap.was_committed, gap.reason, gap.rechecks) for span, gap in gaps.items()} == {
        REOPENED: (missing, False, None, 0),
        hours("2024-03-04T05:00", "2024-03-04T07:00"): (absent, False, Reason.HALT, 1),
        hours("2024-03-04T08:00", "2024-03-04T11:00"): (absent, False, Reason.HALT, 1),
        MERGED: (absent, False, Reason.HALT, 1),
        LOST: (missing, True, None, 0),
    }
    merged = gaps[MERGED]
    assert merged.reason_note == "no 1d candle either"
    assert merged.next_recheck_ms is not None
    assert merged.next_recheck_ms // MS_PER_MINUTE * MS_PER_MINUTE == NOW_MS + 7 * MS_PER_DAY
    assert {answer.source for answer in merged.answers} == {Source.REST, Source.ARCHIVE_DAILY}
    assert all(answer.checksum for answer in merged.answers if answer.source.is_archive)
    [by_rest] = gaps[LOST].answers
    assert by_rest == Answer(Source.REST, LOST, by_rest.first_ms, by_rest.last_ms)
    assert by_rest.first_ms // MS_PER_HOUR == NOW_MS // MS_PER_HOUR


def test_what_happened_to_a_gap_has_its_kind(upgraded: Database) -> None:
    found = rows_of(
        upgraded,
        "select status, gap_start, array(select event ->> 'kind' from jsonb_array_elements(history) with ordinality"
        " as events(event, place) order by place) from public.ohlcv_gaps order by gap_start",
    )
    proven = ["found", "not_at_exchange", "reason"]
    assert found == [
        ("missing", to_datetime(REOPENED.start_ms), [*proven, "reopened"]),
        ("not_at_exchange", to_datetime(parse_time("2024-03-04T05:00")), [*proven, "split"]),
        ("healed", to_datetime(parse_time("2024-03-04T07:00")), [*proven, "split", "healed"]),
        ("not_at_exchange", to_datetime(parse_time("2024-03-04T08:00")), [*proven, "split"]),
        ("healed", to_datetime(parse_time("2024-03-05T05:00")), [*proven, "healed"]),
        ("not_at_exchange", to_datetime(MERGED.start_ms), [*proven, *proven, "merged"]),
        ("missing", to_datetime(LOST.start_ms), ["found"]),
    ]
    for gap in gaps_of(upgraded).values():
        assert gap.history[0].kind is EventKind.FOUND
        assert all(event.text and event.at_ms <= NOW_MS + MS_PER_MINUTE for event in gap.history)


def test_gaps_that_are_read_and_written_again_are_the_same(upgraded: Database) -> None:
    gaps = list(gaps_of(upgraded).values())
    series_id = catalog_id(upgraded, BTC)
    with upgraded.transaction("save") as tx:
        tx.cursor.execute("create temporary table before on commit drop as select * from public.ohlcv_gaps")
        save_gaps(tx, series_id, [], gaps)  # none known: every row is written
        tx.cursor.execute("select count(*) from public.ohlcv_gaps join before using (id) where ohlcv_gaps = before")
        [(same,)] = tx.cursor.fetchall()
    assert same == 7


def test_the_ledger_keeps_what_was_verified_and_what_was_tried(upgraded: Database) -> None:
    of_btc, of_eth = entries(upgraded, BTC), entries(upgraded, ETH)
    assert sum(entry.rows for entry in of_btc) == 263  # two of them were lost since
    assert {entry.verified_ms for entry in of_btc} == {NOW_MS}
    assert [entry.attempted_ms for entry in of_btc] == [NOW_MS, None, None, None, None, None, None]
    assert [(entry.verified_ms, entry.attempted_ms) for entry in of_eth] == [
        (None, NOW_MS), (NOW_MS, None), (NOW_MS, None)
    ]  # fmt: skip
    [gone] = entries(upgraded, GONE)
    assert (gone.source, gone.rows, gone.is_hash_checked) == (Source.ARCHIVE_MONTHLY, 24, True)
    assert gone.archive_checksum is not None and len(gone.archive_checksum) == 64
    assert rows_of(upgraded, "select distinct verified_against from public.ohlcv_ledger order by 1") == [
        ("archive",), ("rest",), (None,)
    ]  # fmt: skip


def test_corrections_and_changes_by_others_are_still_told(upgraded: Database) -> None:
    btc_id = catalog_id(upgraded, BTC)
    with upgraded.transaction("read") as tx:
        assert load_corrected(tx, "20240312-verify") == [(btc_id, 1)]
        told = last_external_change(tx, BTC.table_name)
    assert told is not None and told.startswith("delete by postgres (psql) at 2024-03-12T")


def test_check_says_what_it_said_before(upgraded: Database) -> None:
    found = {}
    for series in SAID_BEFORE:
        one = check(upgraded, series)
        counts = (one.expected, one.stored, one.not_at_exchange, one.missing, one.extra_rows, len(one.altered))
        found[series] = (*counts, one.is_complete)
    assert found == SAID_BEFORE


def test_changes_by_others_are_noted_under_the_new_names(upgraded: Database) -> None:
    for series in SAID_BEFORE:
        with upgraded.transaction("change by hand") as tx:
            assert is_watched(tx, series.table_name)
            tx.cursor.execute(f"update public.{series.table_name} set close = close")
        assert rows_of(upgraded, "select table_name, operation from public.ohlcv_external_changes order by id")[-1] == (
            series.table_name,
            "update",
        )
    assert [entry.is_hash_checked for entry in entries(upgraded, GONE)] == [False]


def test_a_trigger_that_was_off_stays_off(old: Database) -> None:
    with old.transaction("change by hand") as tx:
        tx.cursor.execute("alter table public.ohlcv_btcusdt_1h disable trigger ohlcv_note_foreign_change")
    migrate(old)
    with old.transaction("look") as tx:
        assert not is_watched(tx, BTC.table_name)
        assert is_watched(tx, ETH.table_name)


def exchange_rows(database: Database) -> list[Row]:
    """Return what is stored as the exchange's rows, and made-up ones where candles were published late."""
    with database.transaction("read") as tx:
        rows = stored_rows(tx, BTC.table_name)
    published = [[*row[:6], 0, row[6], int(str(row[7])), *row[8:], "0"] for row in rows]
    return [*published, *generate_series(BTC, REOPENED, 1)]


@pytest.fixture
def stored(upgraded: Database, tmp_path: Path) -> Iterator[StoredSeries]:
    """BTC in the upgraded database, beside an exchange an hour later."""
    store = CandleStore()
    store.add(BTC, exchange_rows(upgraded))
    with ReplayExchange(store, ReplayClock(NOW_MS + MS_PER_HOUR, speed=0.0)) as replay:
        addresses = addresses_of(replay, tmp_path)
        exchange = BinanceExchange(addresses, lambda _seconds: None, replay.clock.now_ms)
        yield StoredSeries(upgraded, replay, addresses, exchange, BTC, WHOLE, catalog_id(upgraded, BTC))


def repair(stored: StoredSeries) -> SeriesVerification:
    stored.begin_run()
    options = VerifyOptions("repair", AllowedSources.AUTO, True, False, None, None, TimeRange())
    rows, now_ms = [stored.catalog_row()], stored.replay.clock.now_ms
    [result] = run_verify(stored.database, stored.exchange, rows, options, now_ms, VerifyObserver()).results
    assert result.exit_code == 0
    return result


def test_a_heal_goes_on_where_the_old_version_stopped(upgraded: Database, stored: StoredSeries) -> None:
    stored.delete([parse_time("2024-03-08T03:00")])
    result = fill_missing(stored.recheck(), [WHOLE])
    assert (result.healed, result.not_at_exchange, result.unexplained) == (5, 2, 0)
    assert stored.rows() == stored.truth()
    # What was committed, lost and is not at the exchange any more is for `verify --repair` to settle.
    [doubtful] = [entry.span for entry in entries(upgraded, BTC) if entry.span.intersect(LOST)]
    checked = stored.check()
    assert (checked.missing, checked.not_at_exchange, checked.altered) == (0, 11, (doubtful,))
    repair(stored)
    assert stored.check().is_complete
    assert stored.rows() == stored.truth()
    gaps = gaps_of(upgraded)
    assert REOPENED not in gaps
    assert [event.kind for event in gaps[LOST].history[:2]] == [EventKind.FOUND, EventKind.NOT_AT_EXCHANGE]


def test_a_repair_and_its_undo_work_on_what_the_old_version_stored(stored: StoredSeries) -> None:
    stored.execute("update {table} set close = close + 1 where time = '2024-03-08T03:00Z'")
    damaged = stored.rows()
    assert len(stored.check().altered) == 1
    fill_missing(stored.recheck(), [WHOLE])
    assert repair(stored).repaired == 1
    assert stored.rows() == stored.truth()
    [undone] = undo_repair(stored.database, "repair", "undo", stored.replay.clock.now_ms)
    assert (undone.put_back, undone.corrections) == (1, 1)
    assert [row for row in damaged if row not in stored.rows()] == []


def test_a_repair_of_the_old_version_can_be_undone(upgraded: Database) -> None:
    was = "select (old_row ->> 'close')::numeric from public.ohlcv_corrections where run_id = '20240312-verify'"
    now = (
        "select close from public.ohlcv_btcusdt_1h where time = "
        "(select time from public.ohlcv_corrections where run_id = '20240312-verify')"
    )
    assert rows_of(upgraded, now) != rows_of(upgraded, was)
    [undone] = undo_repair(upgraded, "20240312-verify", "undo", lambda: NOW_MS)
    assert (undone.put_back, undone.corrections) == (1, 1)
    assert rows_of(upgraded, now) == rows_of(upgraded, was)


def test_migrating_twice_changes_nothing_more(upgraded: Database) -> None:
    def everything() -> dict[str, list[tuple[object, ...]]]:
        return {
            name: rows_of(upgraded, f"select xmin, one::text from public.{name} as one order by 2")
            for name in OWN_TABLES
        }

    before = everything()
    migrate(upgraded)
    assert everything() == before
    with upgraded.transaction("look") as tx:
        assert applied_versions(tx) == {int(path.name[:4]) for path in MIGRATIONS.glob("[0-9]*.sql")}
