"""State files, catalog, ledger and tables after hands in the works: the database decides."""

from __future__ import annotations

import json

import pytest
from candles import truth_rows
from program import Program
from small_market import BTC, NOW_MS, SERIES, truth

from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_DAY, parse_time
from demo.generated_market import generate_series
from demo.server import ReplayExchange

RANGE = ("--start", "2025-01-05")
START_MS = parse_time("2025-01-05")


def state_of(program: Program, stem: str) -> dict[str, object]:
    document = json.loads((program.folder / "state" / f"{stem}.json").read_text())
    assert isinstance(document["state"], dict)
    return document["state"]


def test_the_state_file_says_how_far_the_series_got(program: Program, exchange: ReplayExchange) -> None:
    run_id = program.run_json("--symbols", "BTCUSDT")["run_id"]
    state = state_of(program, "spot_BTCUSDT_1m")
    closed_ms = BTC.interval.floor(NOW_MS)
    assert state["listing_ms"] == exchange.store.open_times(BTC)[0]
    assert (state["covered_until_ms"], state["last_candle_ms"]) == (closed_ms, closed_ms - 60_000)
    assert (state["last_run_id"], state["last_result"]) == (run_id, "ok")
    assert list((program.folder / "state").glob("*.tmp")) == []


def test_a_dropped_table_is_fetched_again_whatever_state_and_ledger_say(
    program: Program, exchange: ReplayExchange
) -> None:
    program.run_json("--symbols", "BTCUSDT", *RANGE)
    program.query("drop table public.ohlcv_btcusdt cascade")
    done = program.run("--symbols", "BTCUSDT", *RANGE)
    assert done.returncode == 0
    assert "table public.ohlcv_btcusdt is gone or empty" in done.stderr
    assert program.stored("ohlcv_btcusdt") == truth_rows(truth(exchange.store, BTC, START_MS))


def test_an_emptied_table_is_fetched_again(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT", *RANGE)
    program.query("truncate public.ohlcv_btcusdt")
    program.run_json("--symbols", "BTCUSDT", *RANGE)
    assert program.stored("ohlcv_btcusdt") == truth_rows(truth(exchange.store, BTC, START_MS))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"version": 99}',
        '{"version": 1, "market": "spot", "symbol": "ETHUSDT", "interval": "1m", "state": {}}',
        '{"version": 1, "market": "spot", "symbol": "BTCUSDT", "interval": "1m", "state": {"covered_until_ms": "x"}}',
    ],
)
def test_a_state_file_that_cannot_be_used_is_rebuilt_with_a_warning(
    program: Program, exchange: ReplayExchange, content: str
) -> None:
    program.run_json("--symbols", "BTCUSDT", *RANGE)
    path = program.folder / "state" / "spot_BTCUSDT_1m.json"
    good = state_of(program, "spot_BTCUSDT_1m")
    path.write_text(content)
    done = program.run("--symbols", "BTCUSDT", *RANGE)
    assert done.returncode == 0
    assert "cannot be used" in done.stderr
    assert state_of(program, "spot_BTCUSDT_1m")["covered_until_ms"] == good["covered_until_ms"]


def test_tables_that_others_have_spoilt_fail_alone_and_say_why(program: Program, exchange: ReplayExchange) -> None:
    names = ["BTCUSDT", "ETHUSDT", "BTCUSDT/1h"]
    program.run_json("--symbols", *names, "--start", "2025-01-09", "--end", "2025-01-10")
    program.query("alter table public.ohlcv_btcusdt drop constraint ohlcv_btcusdt_pkey")
    program.query("alter table public.ohlcv_ethusdt rename column time to opened")
    document = program.run_json("--symbols", *names, "--start", "2025-01-09", expect=3)
    by_name = {(one["symbol"], one["interval"]): one for one in document["series"]}
    assert "lost its primary key" in by_name["BTCUSDT", "1m"]["error"]
    assert by_name["ETHUSDT", "1m"]["outcome"] == "failed"
    assert by_name["BTCUSDT", "1h"]["outcome"] == "ok"
    hours = truth(exchange.store, SERIES["BTCUSDT/1h"], parse_time("2025-01-09"))
    assert program.stored("ohlcv_btcusdt_1h") == truth_rows(hours)


def test_a_state_file_that_runs_ahead_skips_nothing(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT", *RANGE, "--end", "2025-01-06")
    path = program.folder / "state" / "spot_BTCUSDT_1m.json"
    document = json.loads(path.read_text())
    document["state"]["covered_until_ms"] = NOW_MS // 60_000 * 60_000
    path.write_text(json.dumps(document))
    done = program.run("--symbols", "BTCUSDT", *RANGE)
    assert "the database decides" in done.stderr
    assert program.stored("ohlcv_btcusdt") == truth_rows(truth(exchange.store, BTC, START_MS))


def test_minute_and_month_have_files_and_tables_of_their_own(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT", "BTCUSDT/1M")
    names = [path.name.lower() for path in (program.folder / "state").glob("*.json")]
    assert {"spot_btcusdt_1m.json", "spot_btcusdt_1mo.json"} <= set(names)
    assert len(set(names)) == len(names)
    assert program.stored("ohlcv_btcusdt_1mo") == truth_rows(truth(exchange.store, SERIES["BTCUSDT/1M"]))


def test_symbols_yml_with_patterns_and_exclude(program: Program, exchange: ReplayExchange) -> None:
    program.symbols(
        'defaults: {start: 2025-01-08}\nsymbols: ["*USDT", {symbol: BTCUSDT, market: um, interval: 5m}]\n'
        'exclude: ["ETH*"]\n'
    )
    document = program.run_json()
    names = [(one["market"], one["symbol"], one["interval"], one["outcome"]) for one in document["series"]]
    assert names == [("spot", "BTCUSDT", "1m", "ok"), ("um", "BTCUSDT", "5m", "ok")]
    assert program.stored("ohlcv_btcusdt")[0][0] == parse_time("2025-01-08")


def test_an_interval_on_the_command_line_stands_above_the_files_defaults(
    program: Program, exchange: ReplayExchange
) -> None:
    program.symbols("defaults: {interval: 1m}\nsymbols: [BTCUSDT, ETHUSDT/1m]")
    document = program.run_json("--interval", "1h", "--start", "2025-01-09")
    assert [(one["symbol"], one["interval"]) for one in document["series"]] == [("BTCUSDT", "1h"), ("ETHUSDT", "1m")]


def test_nothing_to_do_is_said(program: Program) -> None:
    done = program.run()
    assert done.returncode == 2
    assert "nothing to do: there is no symbols.yml, and public.symbols has no usable active row" in done.stderr


def test_without_symbols_yml_the_active_rows_of_the_list_run(program: Program, exchange: ReplayExchange) -> None:
    program.query(
        "insert into public.symbols (symbol, active, wanted_from) values"
        " ('BTCUSDT', true, '2025-01-09Z'), ('ETHUSDT', false, null)"
    )
    document = program.run_json()
    assert [one["symbol"] for one in document["series"]] == ["BTCUSDT"]
    assert program.stored("ohlcv_btcusdt")[0][0] == parse_time("2025-01-09")


def test_a_changed_candle_at_the_exchange_is_a_conflict_and_never_overwrites(
    program: Program, exchange: ReplayExchange
) -> None:
    program.run_json("--symbols", "BTCUSDT", *RANGE)
    program.query("update public.ohlcv_btcusdt set volume = 4242 where time = '2025-01-07 00:00Z'")
    program.query("delete from public.ohlcv_ledger")
    done = program.run("--symbols", "BTCUSDT", *RANGE)
    assert done.returncode == 3
    assert "conflict, the stored candle stays: 2025-01-07T00:00:00+00:00: volume stored 4242 given" in done.stderr
    stored = {row[0]: row[5] for row in program.stored("ohlcv_btcusdt")}
    assert stored[parse_time("2025-01-07")] == "4242"


def test_heal_gaps_brings_deleted_rows_back_and_only_those(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT", "--start", "2024-12-10")
    whole = program.stored("ohlcv_btcusdt")
    program.query(
        "delete from public.ohlcv_btcusdt where time in ('2024-12-10 00:00Z', '2024-12-20 10:10Z', '2024-12-20 10:12Z')"
        " or time >= '2024-12-25Z' and time < '2024-12-26Z'"
    )
    check = program.run_json("check", expect=3)["series"][0]
    assert check["missing"] == 1443
    exchange.clear_requests()
    document = program.run_json("--symbols", "BTCUSDT", "--start", "2024-12-10", "--heal-gaps")
    halted = 190
    assert (document["series"][0]["healed"], document["series"][0]["not_at_exchange"]) == (1443, halted)
    assert program.stored("ohlcv_btcusdt") == whole
    assert exchange.count("klines") < 12
    after = program.run_json("check")["series"][0]
    assert (after["missing"], after["not_at_exchange"]) == (0, halted)


def test_status_and_check_tell_what_is_there(program: Program, exchange: ReplayExchange) -> None:
    assert program.run_json("status") == {"series": [], "sessions": []}
    program.run_json("--symbols", "BTCUSDT", "--start", "2025-01-01", "--end", "2025-01-02")
    program.run_json("--symbols", "BTCUSDT", "--start", "2025-01-03", "--end", "2025-01-04")
    status = program.run_json("status")["series"][0]
    assert status["rows"] == 2880
    assert (status["first_candle"], status["last_candle"]) == ("2025-01-01T00:00:00Z", "2025-01-03T23:59:00Z")
    assert (status["covered_from"], status["covered_until"]) == ("2025-01-01T00:00:00Z", "2025-01-04T00:00:00Z")
    assert status["holes_in_coverage"] == 1
    check = program.run_json("check", expect=3)["series"][0]
    assert check["never_fetched_in"] == [{"start": "2025-01-02T00:00:00Z", "end": "2025-01-03T00:00:00Z"}]
    text = program.run("check").stdout
    assert "1,440 candles in 2025-01-02 .. 2025-01-03 never fetched" in text
    program.run_json("--symbols", "BTCUSDT", "--start", "2025-01-01", "--end", "2025-01-04")
    assert program.run_json("check")["complete"] is True
    assert program.run("status", "--symbols", "NOSUCH").returncode == 2


def test_a_dry_run_prints_the_plan_and_touches_nothing(
    program: Program, exchange: ReplayExchange, empty_database_url: str
) -> None:
    program.settings["DATABASE_URL"] = empty_database_url
    document = program.run_json("--symbols", "BTCUSDT", "--dry-run")
    # Three days of November by REST (cheaper than its month's file) in chunks of two pages, December by its
    # month's file, eight days of January by theirs, today by REST.
    assert document["chunks_by_source"] == {"archive-daily": 8, "archive-monthly": 1, "rest": 3}
    span_ms = BTC.interval.floor(NOW_MS) - exchange.store.open_times(BTC)[0]
    assert document["expected_rows"] == span_ms // 60_000
    assert document["stored_bytes"] == document["expected_rows"] * 130
    assert document["request_weight"] > 0
    program.database_url = empty_database_url
    assert program.query("select tablename from pg_tables where schemaname = 'public'") == []
    assert not (program.folder / "state").exists()
    assert not (program.folder / "logs").exists()
    assert "roughly" in program.run("--symbols", "BTCUSDT", "--dry-run").stdout


def test_the_dry_run_of_a_covered_series_is_empty(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT")
    document = program.run_json("--symbols", "BTCUSDT", "--dry-run")
    assert (document["chunks"], document["chunks_by_source"], document["requests"]) == (0, {}, 0)


def test_a_delisted_symbol_is_complete_with_its_last_candle(program: Program, exchange: ReplayExchange) -> None:
    from core.ranges import Span
    from demo.candle_store import SymbolFacts

    end_ms = parse_time("2024-12-20T03:00")
    exchange.store.remove(BTC, Span(end_ms, NOW_MS + 10 * MS_PER_DAY))
    exchange.store.set_facts(BTC.market, BTC.symbol, SymbolFacts(status="BREAK"))
    document = program.run_json("--symbols", "BTCUSDT")
    assert document["series"][0]["covered_until"] == "2024-12-20T03:00:00Z"
    assert program.query("select status, delisting::text from public.ohlcv_series") == [
        ("BREAK", "2024-12-20 03:00:00+00")
    ]


def test_no_secret_reaches_a_log_an_error_or_the_output(program: Program, exchange: ReplayExchange) -> None:
    host = program.database_url.split("host=")[1]
    name = program.database_url.split("@/")[1].split("?")[0]
    program.settings["DATABASE_URL"] = f"postgresql://postgres:S3cr%40t%2Fpw@/{name}?host={host}"
    done = program.run("--symbols", "BTCUSDT", *RANGE, "--verbose")
    assert done.returncode == 0, done.stderr
    program.settings["DATABASE_URL"] = f"postgresql://postgres:S3cr%40t%2Fpw@/{name}?host={host}&bogus=1"
    wrong = program.run("--symbols", "BTCUSDT", "--json")
    assert wrong.returncode == 6
    for text in (done.stdout, done.stderr, wrong.stdout, wrong.stderr, program.log_text):
        assert "S3cr" not in text


def test_the_log_has_a_line_for_every_series_with_the_run_id(program: Program, exchange: ReplayExchange) -> None:
    run_id = program.run_json("--symbols", "BTCUSDT", *RANGE)["run_id"]
    lines = [line for line in program.log_text.splitlines() if "BTCUSDT/1m: ok" in line]
    assert len(lines) == 1
    assert f"[{run_id}]" in lines[0]
    assert "chunk" not in program.log_text
    program.run("--symbols", "ETHUSDT", *RANGE, "--verbose")
    assert "chunk 2025-01-05 .. 2025-01-06 from archive-daily committed" in program.log_text


def test_a_console_that_knows_ascii_only_can_show_every_symbol(program: Program, exchange: ReplayExchange) -> None:
    series = parse_series("币安人生USDT")
    exchange.store.add(series, generate_series(series, Span(START_MS, START_MS + 2 * MS_PER_DAY), 9))
    program.settings |= {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = program.run("--symbols", "币安人生USDT", "--end", "2025-01-07")
    assert done.returncode == 0, done.stderr
    assert r"\u5e01\u5b89\u4eba\u751fUSDT/1m: ok, inserted 2,880" in done.stdout
    assert program.run("status").returncode == 0
    assert program.run_json("status")["series"][0]["symbol"] == "币安人生USDT"
    assert (program.folder / "state" / "spot_币安人生USDT_1m.json").exists()


def test_quiet_says_nothing_when_all_is_well(program: Program, exchange: ReplayExchange) -> None:
    done = program.run("--symbols", "BTCUSDT", *RANGE, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
