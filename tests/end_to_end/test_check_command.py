"""`check` as cron runs it: reads only, tells sound from damaged, and with --heal fetches exactly what is missing."""

from __future__ import annotations

import time

from candles import batch_of, save_spans, truth_rows
from program import Program
from small_market import BTC, HALT, NOW_MS, SERIES, truth

from core.fetched import FetchedSpan
from core.ranges import Span
from core.series import parse_series
from core.sources import Source
from core.times import MS_PER_HOUR, MS_PER_MINUTE, parse_time
from db.connection import Database
from db.locks import try_lock_series
from demo.faults import Answer
from demo.generated_market import generate_series
from demo.server import ReplayExchange

WEEK = ("--start", "2024-12-10", "--end", "2024-12-17")
START_MS = parse_time("2024-12-10")


def fetch_week(program: Program, *texts: str) -> None:
    program.run_json("--symbols", *(texts or ("BTCUSDT",)), *WEEK)


def contents(program: Program) -> dict[str, str]:
    """Return a hash of every table in the database, and of every sequence."""
    tables = program.query(
        "select quote_ident(table_schema) || '.' || quote_ident(table_name) from information_schema.tables"
        " where table_schema not in ('pg_catalog', 'information_schema') and table_type = 'BASE TABLE' order by 1"
    )
    hashes = {
        name: program.query(f"select md5(string_agg(one::text, '|' order by one::text)) from {name} as one")[0][0]
        for (name,) in tables
    }
    return {**hashes, "sequences": str(program.query("select sequencename, last_value from pg_sequences order by 1"))}


def files(program: Program) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(program.folder.rglob("*"))
        if path.is_file() and "pgdata" not in path.parts
    }


def check(program: Program, *arguments: str, expect: int = 0) -> dict[str, object]:
    document = program.run_json("check", *arguments, expect=expect)
    assert document["complete"] is (expect == 0)
    [series] = document["series"]
    assert isinstance(series, dict)
    return series


def moment(text: str) -> str:
    return f"timestamptz '{text}+00'"


def test_a_sound_series_with_a_halt_is_complete_and_the_halt_is_shown_with_its_evidence(
    program: Program, exchange: ReplayExchange
) -> None:
    fetch_week(program)
    exchange.clear_requests()
    series = check(program)
    assert exchange.requests == []
    assert (series["expected"], series["stored"], series["missing"], series["not_at_exchange"]) == (
        10_080,
        9_890,
        0,
        190,
    )
    [gap] = series["gaps"]
    assert (gap["start"], gap["end"], gap["status"]) == (
        "2024-12-12T02:00:00Z",
        "2024-12-12T05:10:00Z",
        "not_at_exchange",
    )
    assert {one["source"] for one in gap["evidence"]} >= {"rest"}
    assert gap["reason"] is not None
    shown = program.run("check", "--gaps")
    assert shown.returncode == 0
    assert "not at the exchange 2024-12-12T02:00Z .. 2024-12-12T05:10Z (190 candles)" in shown.stdout
    quiet = program.run("check", "--quiet")
    assert (quiet.returncode, quiet.stdout.strip()) == (0, "")


def test_check_changes_nothing_in_a_sound_or_a_damaged_database(program: Program, exchange: ReplayExchange) -> None:
    fetch_week(program, "BTCUSDT", "BTCUSDT/1h")
    for damage in (None, f"delete from public.ohlcv_btcusdt where time < {moment('2024-12-10 01:00')}"):
        if damage:
            program.query(damage)
        before, before_files = contents(program), files(program)
        assert program.run("check").returncode == (3 if damage else 0)
        assert (contents(program), files(program)) == (before, before_files)


DAMAGES = {
    "missing": "delete from public.{table} where time = {at}",
    "altered": "update public.{table} set close = close + 0.00000001 where time = {at}",
    "extra": "insert into public.{table} select time + interval '7 seconds', open, high, low, close, volume,"
    " quote_volume, trades, taker_buy_volume, taker_buy_quote_volume from public.{table} where time = {at}",
    "duplicate through a dropped key": "alter table public.{table} drop constraint {table}_pkey;"
    " insert into public.{table} select * from public.{table} where time = {at}",
    "an hour off": "update public.{table} set time = time + interval '20 years';"
    " update public.{table} set time = time - interval '20 years' + interval '1 hour'",
    "swapped columns": "update public.{table} set high = low, low = high",
    "a dropped table": "drop table public.{table} cascade",
    "an emptied table": "truncate public.{table}",
}


def test_check_fails_on_each_kind_of_damage_and_names_the_series(program: Program, exchange: ReplayExchange) -> None:
    codes = ("3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h")
    for code in codes:
        series = parse_series(f"BTCUSDT/{code}")
        exchange.store.add(series, generate_series(series, Span(START_MS, parse_time("2024-12-19")), 1))
    fetch_week(program, *(f"BTCUSDT/{code}" for code in codes))
    damaged = dict(zip(codes, DAMAGES.values(), strict=False))
    for code, damage in damaged.items():
        program.query(damage.format(table=f"ohlcv_btcusdt_{code}", at=moment("2024-12-13 12:00")))
    document = program.run_json("check", expect=3)
    assert {one["interval"]: one["complete"] for one in document["series"]} == {
        code: code not in damaged for code in codes
    }
    done = program.run("check", "--quiet")
    assert done.returncode == 3
    named = {line.split()[0].removesuffix(":") for line in done.stdout.splitlines() if line.startswith("BTCUSDT/")}
    assert named == {f"BTCUSDT/{code}" for code in damaged}


def test_heal_fetches_what_is_missing_and_only_that(program: Program, exchange: ReplayExchange) -> None:
    fetch_week(program)
    for text in ("2024-12-10 00:00", "2024-12-13 07:00", "2024-12-13 07:01", "2024-12-16 23:59"):
        program.query(f"delete from public.ohlcv_btcusdt where time = {moment(text)}")
    assert check(program, expect=3)["missing"] == 4
    exchange.clear_requests()
    document = program.run_json("check", "--heal")
    assert document["complete"] is True
    assert document["heal_runs"][0]["series"][0]["healed"] == 4
    asked = [record for record in exchange.requests if record.path.endswith("/klines")]
    assert len(asked) <= 6 and exchange.count(".zip") == 0
    expected = truth_rows(truth(exchange.store, BTC, START_MS, parse_time("2024-12-17")))
    assert program.stored("ohlcv_btcusdt") == expected
    assert check(program)["not_at_exchange"] == 190


def test_a_heal_where_the_exchange_is_closed_ends_with_5_and_the_truth(
    program: Program, exchange: ReplayExchange
) -> None:
    fetch_week(program)
    program.query(f"delete from public.ohlcv_btcusdt where time = {moment('2024-12-13 07:00')}")
    exchange.faults.add("/api/v3/", Answer(451), times=1_000)
    document = program.run_json("check", "--heal", expect=5)
    assert (document["complete"], document["series"][0]["missing"]) == (False, 1)


def test_a_heal_beside_a_run_that_holds_the_lock_says_what_is_missing(
    program: Program, exchange: ReplayExchange
) -> None:
    fetch_week(program)
    program.query(f"delete from public.ohlcv_btcusdt where time = {moment('2024-12-13 07:00')}")
    [(series_id,)] = program.query("select id from public.ohlcv_series")
    other = Database.connect(program.database_url, {}, "other run")
    try:
        with other.transaction("lock") as tx:
            assert try_lock_series(tx, [series_id])
        before = program.stored("ohlcv_btcusdt")
        program.be_impatient()
        done = program.run("check", "--heal", "--quiet")
        assert done.returncode == 3
        assert "1 candle in 2024-12-13T07:00Z .. 2024-12-13T07:01Z missing" in done.stdout
        assert program.stored("ohlcv_btcusdt") == before
    finally:
        other.close()


def test_an_absent_gap_is_asked_for_when_due_and_not_by_every_run(program: Program, exchange: ReplayExchange) -> None:
    fetch_week(program)
    exchange.store.add(BTC, generate_series(BTC, HALT, 9))
    for _ in range(3):
        exchange.clear_requests()
        program.run_json("--symbols", "BTCUSDT", *WEEK, "--heal-gaps")
        assert exchange.count("/api/v3/klines") + exchange.count("/data/") == 0
        exchange.clock.advance(7 * MS_PER_HOUR)
    exchange.clock.advance(4 * MS_PER_HOUR)
    document = program.run_json("--symbols", "BTCUSDT", *WEEK)
    assert document["series"][0]["healed"] == 190
    expected = truth_rows(truth(exchange.store, BTC, START_MS, parse_time("2024-12-17")))
    assert program.stored("ohlcv_btcusdt") == expected
    assert check(program)["not_at_exchange"] == 0
    assert program.query("select status from public.ohlcv_gaps") == [("healed",)]


def test_the_halt_of_all_series_is_told_from_rows_that_one_of_them_lost(
    program: Program, exchange: ReplayExchange
) -> None:
    texts = ("BTCUSDT", "ETHUSDT", "BTCUSDT/1h")
    fetch_week(program, *texts)
    program.query(f"delete from public.ohlcv_ethusdt where time >= {moment('2024-12-12 05:00')}"
                  f" and time < {moment('2024-12-12 06:00')}")  # fmt: skip
    document = program.run_json("check", "--heal")
    assert [one["not_at_exchange"] for one in document["series"]] == [190, 3, 190] or document["complete"] is True
    for text in texts:
        series = parse_series(text)
        expected = truth_rows(truth(exchange.store, series, START_MS, parse_time("2024-12-17")))
        assert program.stored(series.table_name) == expected, text
    statuses = program.query("select table_name, g.status, count(*) from public.ohlcv_gaps g join public.ohlcv_series s"
                             " on s.id = series_id group by 1, 2 order by 1, 2")  # fmt: skip
    assert statuses == [
        ("ohlcv_btcusdt", "not_at_exchange", 1),
        ("ohlcv_btcusdt_1h", "not_at_exchange", 1),
        ("ohlcv_ethusdt", "healed", 1),
        ("ohlcv_ethusdt", "not_at_exchange", 1),
    ]


def test_a_range_is_held_against_what_the_exchange_can_have(program: Program, exchange: ReplayExchange) -> None:
    fetch_week(program)
    inside = check(program, "--start", "2024-12-11", "--end", "2024-12-12")
    assert (inside["expected"], inside["stored"]) == (1_440, 1_440)
    wider = check(program, "--start", "2024-12-09", "--end", "2024-12-12", expect=3)
    assert (wider["expected"], wider["missing"]) == (3 * 1_440, 1_440)
    assert wider["never_fetched_in"] == [{"start": "2024-12-09T00:00:00Z", "end": "2024-12-10T00:00:00Z"}]


def test_wrong_usage_ends_with_2_and_one_document(program: Program, exchange: ReplayExchange) -> None:
    fetch_week(program)
    for arguments in (
        ["--symbols", "ETHUSDT"],
        ["--start", "nonsense"],
        ["--start", "2024-12-12", "--end", "2024-12-11"],
    ):
        assert program.run_json("check", *arguments, expect=2)["exit_code"] == 2


def test_nothing_stored_yet_is_no_fault(program: Program) -> None:
    assert program.run_json("check") == {"complete": True, "series": []}
    assert "nothing stored yet" in program.run("check").stdout


def test_a_chunk_that_is_committed_during_a_check_is_not_called_damage(
    program: Program, exchange: ReplayExchange
) -> None:
    """A check waits for a table; a run commits; the check still sees one moment of the database."""
    fetch_week(program, "um:BTCUSDT/5m")
    series = SERIES["um:BTCUSDT/5m"]
    [(series_id,)] = program.query("select id from public.ohlcv_series")
    later = Span(parse_time("2024-12-17"), parse_time("2024-12-18"))
    blocker = Database.connect(program.database_url, {}, "blocker")
    backfill = Database.connect(program.database_url, {}, "backfill")
    try:
        with blocker.transaction("hold the gaps") as tx:
            tx.cursor.execute("lock table public.ohlcv_gaps in access exclusive mode")
            process = program.start("check")
            until = time.monotonic() + 30
            while not program.query("select pid from pg_stat_activity where wait_event_type = 'Lock'"):
                assert time.monotonic() < until and process.poll() is None
                time.sleep(0.05)
            with backfill.transaction("commit") as theirs:
                fetched = FetchedSpan(
                    later, batch_of(exchange.store.rows(series, later.start_ms, later.end_ms)), Source.REST
                )
                save_spans(theirs, series_id, series.table_name, [fetched], "run", NOW_MS)
        assert process.wait(60) == 0
    finally:
        blocker.close()
        backfill.close()


def test_check_knows_a_table_whose_last_row_is_newer_than_what_was_fetched(
    program: Program, exchange: ReplayExchange
) -> None:
    fetch_week(program)
    program.query(
        "insert into public.ohlcv_btcusdt select time + interval '30 days', open, high, low, close, volume,"
        " quote_volume, trades, taker_buy_volume, taker_buy_quote_volume from public.ohlcv_btcusdt"
        f" where time = {moment('2024-12-13 07:00')}"
    )
    series = check(program, expect=3)
    assert series["extra"] == 1


def test_a_lost_row_is_known_the_minute_after(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT", "--start", "2025-01-09")
    exchange.clock.advance(5 * MS_PER_MINUTE)
    program.run_json("--symbols", "BTCUSDT", "--start", "2025-01-09")
    newest = program.stored("ohlcv_btcusdt")[-1][0]
    assert isinstance(newest, int)
    program.query(f"delete from public.ohlcv_btcusdt where time = to_timestamp({newest // 1000})")
    assert check(program, expect=3)["missing"] == 1


def test_a_wanted_series_of_which_nothing_was_fetched_is_not_complete(
    program: Program, exchange: ReplayExchange
) -> None:
    program.symbols("symbols:\n  - {symbol: BTCUSDT, start: 2025-01-08}\n  - {symbol: NOSUCHUSDT, start: 2025-01-08}\n")
    assert program.run().returncode == 3
    done = program.run("check")
    assert done.returncode == 3
    assert "NOSUCHUSDT/1m: nothing of it was ever fetched" in done.stdout
    assert program.run("check", "--symbols", "BTCUSDT").returncode == 0


def test_a_series_that_stands_still_is_not_complete_up_to_now(program: Program, exchange: ReplayExchange) -> None:
    program.symbols("symbols: [BTCUSDT, BTCUSDT/1h]\ndefaults: {start: 2025-01-08}\n")
    program.run_json()
    assert program.run("check").returncode == 0
    program.query(f"update public.fetch_clock set ahead_ms = ahead_ms + {24 * MS_PER_HOUR + 2 * MS_PER_MINUTE}")
    document = program.run_json("check", expect=3)
    found = {one["interval"]: (one["complete"], one["stale"], one["missing"]) for one in document["series"]}
    assert found == {"1m": (False, True, 0), "1h": (True, False, 0)}
    said = " ".join(program.run("check", "--quiet").stdout.split())
    assert "BTCUSDT/1m: stands still: covered to 2025-01-09T12:34Z, nothing of it was fetched since" in said
    assert "STALE" in said
    assert program.run("check", "--symbols", "BTCUSDT/1m", "--end", "2025-01-09").returncode == 0  # up to there it is
    stored = {one["interval"]: one["stale"] for one in program.run_json("status")["series"]}
    assert stored == {"1m": True, "1h": False}
    assert "BTCUSDT/1m: stands still, 24 h" in " ".join(program.run("status").stdout.split())
    program.run_json()
    exchange.clock.advance(25 * MS_PER_HOUR)
    program.run_json()
    assert program.run("check").returncode == 0


def test_streamed_candles_that_wait_for_their_audit_are_told_and_end_with_3_after_two_hours(
    program: Program, exchange: ReplayExchange
) -> None:
    program.run_json("--symbols", "BTCUSDT", "--start", "2025-01-09T12:00", "--end", "2025-01-09T12:34")
    program.query("update public.ohlcv_ledger set source = 'stream'")
    found = check(program)
    assert (found["provisional"], found["provisional_since"]) == (34, "2025-01-09T12:01:00Z")
    assert "34 candles, 34 not audited yet" in " ".join(program.run("check").stdout.split())
    assert "34 candles not audited yet" in " ".join(program.run("status").stdout.split())
    assert program.query("select symbol, rows from public.ohlcv_provisional") == [("BTCUSDT", 34)]
    program.query(f"update public.fetch_clock set ahead_ms = ahead_ms + {2 * MS_PER_HOUR}")
    check(program, expect=3)
    said = " ".join(program.run("check", "--quiet").stdout.split())
    sentence = "BTCUSDT/1m: 34 streamed candles not audited yet, the oldest closed 2025-01-09T12:01Z; a running stream"
    assert sentence in said and "UNAUDITED" in said
    done = program.run("status")
    assert done.returncode == 0 and sentence in " ".join(done.stdout.split())
    assert program.run_json("status")["series"][0]["provisional"] == 34
    program.run_json("verify", "--against", "rest")
    assert check(program)["provisional"] == 0


def test_many_series_that_stand_still_are_one_sentence(program: Program, exchange: ReplayExchange) -> None:
    codes = ["1m", "3m", "5m", "15m", "30m", "1h"]
    for code in codes[1:5]:
        series = parse_series(f"BTCUSDT/{code}")
        exchange.store.add(series, generate_series(series, Span(NOW_MS - 2 * MS_PER_HOUR, NOW_MS), 3))
    program.symbols(f"symbols: [{{symbol: BTCUSDT, intervals: {codes}}}]\ndefaults: {{start: 2025-01-09}}\n")
    program.run_json()
    program.query(f"update public.fetch_clock set ahead_ms = ahead_ms + {48 * MS_PER_HOUR}")
    done = program.run("check", "--quiet")
    assert done.returncode == 3
    assert done.stdout.count("stand") == 1 and "6 series stand still" in done.stdout
