"""`verify` as it is typed: what it finds, costs, repairs and takes back, and the exit code it ends with."""

from __future__ import annotations

from typing import Any

from candles import Row, truth_rows
from program import Program, serve
from small_market import SERIES, truth

from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_DAY, parse_time
from db.connection import Database
from db.locks import try_lock_series
from demo.faults import Answer
from demo.generated_market import generate_market, generate_series
from demo.server import ReplayExchange

WEEK = ("--start", "2024-12-10", "--end", "2024-12-17")
BTC = SERIES["BTCUSDT"]
TABLE = "ohlcv_btcusdt"
UM_TABLE = SERIES["um:BTCUSDT/5m"].table_name


def expected(exchange: ReplayExchange, text: str = "BTCUSDT") -> list[Row]:
    return truth_rows(truth(exchange.store, parse_series(text), parse_time("2024-12-10"), parse_time("2024-12-17")))


def moment(text: str) -> str:
    return f"timestamptz '2024-12-{text}+00'"


def damage(program: Program, table: str = TABLE) -> None:
    """One candle lost, one altered, one made up."""
    program.query(f"delete from public.{table} where time = {moment('13 07:00')}")
    program.query(f"update public.{table} set close = close + 0.00000001 where time = {moment('14 07:00')}")
    program.query(
        f"insert into public.{table} select time + interval '7 seconds', open, high, low, close, volume, quote_volume,"
        f" trades, taker_buy_volume, taker_buy_quote_volume from public.{table} where time = {moment('15 07:00')}"
    )


def found(document: dict[str, Any]) -> tuple[int, int, int]:
    [series] = document["series"]
    return series["missing"], series["extra"], series["different"]


def kept(program: Program) -> int:
    [(count,)] = program.query("select count(*) from public.ohlcv_corrections")
    assert isinstance(count, int)
    return count


def fetch_week(program: Program, *texts: str) -> None:
    program.run_json("--symbols", *(texts or ("BTCUSDT",)), *WEEK)


def test_damage_is_found_and_left_then_repaired_then_undone(program: Program, exchange: ReplayExchange) -> None:
    fetch_week(program)
    assert found(program.run_json("verify")) == (0, 0, 0)
    damage(program)
    damaged = program.stored(TABLE)
    document = program.run_json("verify", expect=3)
    assert found(document) == (1, 1, 1)
    [series] = document["series"]
    assert series["outcome"] == "different"
    assert series["missing_in"] == [{"start": "2024-12-13T07:00:00Z", "end": "2024-12-13T07:01:00Z"}]
    assert [one["time"] for one in series["differences"]] == ["2024-12-14T07:00:00Z"]
    assert (program.stored(TABLE), kept(program)) == (damaged, 0)

    repaired = program.run_json("verify", "--repair")
    assert (found(repaired), repaired["series"][0]["repaired"]) == ((1, 1, 1), 3)
    assert (program.stored(TABLE), kept(program)) == (expected(exchange), 3)
    assert program.run("check").returncode == 0

    undone = program.run_json("verify", "--undo", repaired["run_id"])
    assert undone["series"] == [
        {"market": "spot", "symbol": "BTCUSDT", "interval": "1m", "put_back": 3, "corrections": 3, "locked": False}
    ]
    assert program.stored(TABLE) == damaged
    assert program.run("check").returncode == 3
    assert found(program.run_json("verify", expect=3)) == (1, 1, 1)
    assert program.run_json("verify", "--repair")["series"][0]["repaired"] == 3
    assert program.stored(TABLE) == expected(exchange)
    assert program.run("check").returncode == 0


def test_a_clean_archive_costs_one_checksum_request_and_no_zip(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT", "--source", "archive", *WEEK, expect=3)
    exchange.clear_requests()
    document = program.run_json("verify")
    [(entries,)] = program.query("select count(*) from public.ohlcv_ledger")
    assert document["series"][0]["verified"] == entries
    assert exchange.count(".CHECKSUM") == entries
    assert sum(record.path.endswith(".zip") for record in exchange.requests) == 0
    assert exchange.count("/api/v3/klines") == 0


def test_against_each_source_the_same_is_found_and_repaired_only_where_told(
    program: Program, exchange: ReplayExchange
) -> None:
    fetch_week(program, "BTCUSDT", "um:BTCUSDT/5m")
    damage(program)
    damage(program, UM_TABLE)
    for against in ("auto", "archive", "rest"):
        document = program.run_json("verify", "--against", against, expect=3)
        assert [(one["missing"], one["extra"], one["different"]) for one in document["series"]] == [(1, 1, 1)] * 2
    program.run_json("verify", "--against", "rest", "--repair", "--symbols", "BTCUSDT")
    assert program.stored(TABLE) == expected(exchange)
    assert program.stored(UM_TABLE) != expected(exchange, "um:BTCUSDT/5m")


def test_five_parts_cover_everything_and_percent_takes_the_longest_unverified(
    program: Program, exchange: ReplayExchange
) -> None:
    fetch_week(program, "BTCUSDT", "BTCUSDT/1h", "um:BTCUSDT/5m")
    damage(program)
    differing = 0
    for number in range(1, 6):
        done = program.run("verify", "--subset", f"{number}/5", "--json")
        assert done.returncode in (0, 3)
        differing += done.stdout.count('"kind": "different"')
    [(never,)] = program.query("select count(*) from public.ohlcv_ledger where verified_at is null")
    assert differing == 1
    assert never == 1 or never <= 3  # the damaged spans alone
    assert program.run("verify", "--percent", "100", "--repair").returncode == 0
    assert program.stored(TABLE) == expected(exchange)
    assert program.query("select count(*) from public.ohlcv_ledger where verified_at is null") == [(0,)]


def test_a_range_verifies_what_lies_in_it(program: Program, exchange: ReplayExchange) -> None:
    fetch_week(program)
    damage(program)
    assert found(program.run_json("verify", "--start", "2024-12-10", "--end", "2024-12-12")) == (0, 0, 0)
    assert (
        found(program.run_json("verify", "--start", "2024-12-14T06:00", "--end", "2024-12-14T08:00", expect=3))[2] == 1
    )


def test_beside_a_run_that_holds_the_lock_it_ends_with_4_and_changes_nothing(
    program: Program, exchange: ReplayExchange
) -> None:
    fetch_week(program)
    damage(program)
    repaired = program.run_json("verify", "--repair")["run_id"]
    damage_again = f"update public.{TABLE} set close = 1 where time = {moment('14 07:00')}"
    program.query(damage_again)
    before = program.stored(TABLE)
    program.be_impatient()
    [(series_id,)] = program.query("select id from public.ohlcv_series")
    other = Database.connect(program.database_url, {}, "other run")
    try:
        with other.transaction("lock") as tx:
            assert try_lock_series(tx, [series_id])
        for arguments in ([], ["--repair"], ["--undo", repaired]):
            document = program.run_json("verify", *arguments, expect=4)
            assert document["exit_code"] == 4
        assert program.stored(TABLE) == before
    finally:
        other.close()


def test_an_exchange_that_cannot_be_used_ends_with_5(program: Program, exchange: ReplayExchange) -> None:
    fetch_week(program)
    damage(program)
    before = program.stored(TABLE)
    exchange.faults.add("/api/v3/", Answer(451), times=1_000)
    document = program.run_json("verify", "--against", "rest", "--repair", expect=5)
    assert document["unusable_markets"].keys() == {"spot"}
    assert program.stored(TABLE) == before


def test_wrong_usage_ends_with_2(program: Program, exchange: ReplayExchange) -> None:
    fetch_week(program, "BTCUSDT/1h")
    for arguments in (
        ["--subset", "6/5"],
        ["--percent", "0"],
        ["--undo", "nothing"],
        ["--against", "1m", "--repair"],
        ["--repair", "--undo", "x"],
        ["--symbols", "ETHUSDT"],
    ):
        assert program.run("verify", *arguments).returncode == 2, arguments


def test_doubled_rows_are_taken_out_the_key_comes_back_and_undo_knows_of_it(
    program: Program, exchange: ReplayExchange
) -> None:
    fetch_week(program)
    program.query(f"alter table public.{TABLE} drop constraint {TABLE}_pkey")
    program.query(f"insert into public.{TABLE} select * from public.{TABLE} where time = {moment('14 07:00')}")
    document = program.run_json("verify", "--repair")
    assert found(document) == (0, 1, 0)
    assert program.stored(TABLE) == expected(exchange)
    assert program.run("check").returncode == 0
    assert kept(program) == 1  # every candle that a repair takes out is kept


def test_rows_outside_of_what_was_fetched_are_named_by_verify_as_check_promises(
    program: Program, exchange: ReplayExchange
) -> None:
    fetch_week(program)
    program.query(
        f"insert into public.{TABLE} select time + interval '20 days', open, high, low, close, volume, quote_volume,"
        f" trades, taker_buy_volume, taker_buy_quote_volume from public.{TABLE} where time = {moment('15 07:00')}"
    )
    told = program.run("check")
    assert told.returncode == 3
    assert "verify --repair takes them out" in told.stdout
    program.run("verify", "--repair")
    assert program.run("check").returncode == 0
    assert program.stored(TABLE) == expected(exchange)


def test_longer_candles_are_held_against_1m(program: Program, exchange: ReplayExchange) -> None:
    market = generate_market(parse_time("2024-12-28"), parse_time("2025-01-05"), 3)
    exchange.store = market
    texts = ("BTCUSDT", "BTCUSDT/1h", "BTCUSDT/4h")
    with ReplayExchange(market, exchange.clock) as other:
        serve(program, other)
        bounds = ("--start", "2024-12-30", "--end", "2025-01-03")
        program.run("--symbols", *texts, *bounds)
        requests = len(other.requests)
        document = program.run_json("verify", "--against", "1m")
        assert [(one["interval"], one["different"]) for one in document["series"]] == [("1h", 0), ("4h", 0)]
        assert all(one["compared"] > 0 for one in document["series"])
        program.query(
            "update public.ohlcv_btcusdt_1h set high = high + 1 where time = timestamptz '2025-01-01 05:00+00'"
        )
        document = program.run_json("verify", "--against", "1m", expect=3)
        assert [one["different"] for one in document["series"]] == [1, 0]
        assert document["series"][0]["differences"][0]["time"] == "2025-01-01T05:00:00Z"
        assert len(other.requests) == requests


def test_candles_published_after_all_are_missing_until_a_repair(program: Program, exchange: ReplayExchange) -> None:
    fetch_week(program)
    halt = Span(parse_time("2024-12-12T02:00"), parse_time("2024-12-12T05:10"))
    program.query("update public.ohlcv_gaps set next_recheck = null, rechecks = 3")
    exchange.store.add(BTC, generate_series(BTC, halt, 9))
    exchange.clock.advance(100 * MS_PER_DAY)
    assert found(program.run_json("verify", expect=3)) == (190, 0, 0)
    assert program.run("check").returncode == 3
    assert program.run_json("verify", "--repair")["series"][0]["repaired"] == 190
    assert program.stored(TABLE) == expected(exchange)
    assert program.run("check").returncode == 0
    assert program.query("select distinct status from public.ohlcv_gaps") == [("healed",)]
