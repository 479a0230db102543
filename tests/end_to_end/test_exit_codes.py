"""Each documented exit code, as cron sees it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest
from program import PROJECT, Program
from small_market import NOW_MS

from core.series import parse_series
from core.times import MS_PER_HOUR, parse_time
from db.connection import Transaction
from db.locks import try_lock_series
from demo.faults import Answer, Reset
from demo.server import ReplayExchange

SHORT = ("--symbols", "BTCUSDT", "--start", "2025-01-09T10:00")


def untouched(program: Program) -> bool:
    tables = program.query("select count(*) from pg_tables where schemaname = 'public' and tablename like 'ohlcv_btc%'")
    return tables == [(0,)] and not (program.folder / "state").exists() and not (program.folder / "logs").exists()


def test_0_when_all_is_done(program: Program, exchange: ReplayExchange) -> None:
    done = program.run(*SHORT)
    assert done.returncode == 0, done.stderr
    assert "BTCUSDT/1m: ok, inserted 154" in done.stdout


def test_1_for_an_unexpected_fault(program: Program, exchange: ReplayExchange, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import requests\ndef get(*a, **k): raise RuntimeError('a bug')\nrequests.Session.get = get\n"
    )
    program.settings["PYTHONPATH"] = str(broken)
    done = program.run(*SHORT)
    assert done.returncode == 1
    assert "unexpected fault, please report it: RuntimeError: a bug" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--symbols", "BTCUSDT/7m"], "'7m'"),
        (["--symbols", "um:BTCUSDT/1s"], "1s"),
        (["--symbols", "xx:BTCUSDT"], "'xx'"),
        (["--symbols", "BTC'; drop table symbols; --"], "is not a symbol"),
        (["--symbols", "BTCUSDT", "BTCUSDT/1m"], "listed twice"),
        (["--symbols", "BTCUSDT", "--start", "2023-02-30"], "2023-02-30"),
        (["--symbols", "BTCUSDT", "--start", "2023-02-02", "--end", "2023-02-01"], "--end is not after --start"),
        (["--symbols", "BTCUSDT", "--interval", "2m"], "'2m'"),
        (["--source", "ftp"], "invalid choice: 'ftp'"),
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["--sybmols", "BTCUSDT"], "--sybmols (did you mean --symbols?)"),
        (["fetch"], "there is no command 'fetch'"),
        (["chekc"], "there is no command 'chekc' (did you mean check?)"),
    ],
)
def test_2_for_wrong_usage_before_anything_is_touched(program: Program, arguments: list[str], named: str) -> None:
    done = program.run(*arguments)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert untouched(program)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("symbols: [BTCUSDT]\nexlude: ['*UP']", "unknown key 'exlude' (did you mean exclude?)"),
        ("symbols: [{symbol: BTCUSDT, intervall: 1m}]", "did you mean interval"),
        ("symbols: [{symbol: BTCUSDT, start: 2024-02-02, end: 2024-02-01}]", "is not after start"),
        ("symbols: [{symbol: BTCUSDT, market: cm, interval: 1s}]", "interval 1s does not exist on market cm"),
        ("symbols: BTCUSDT", "expected a list"),
        ("symbols: [", "not valid YAML"),
        ("", "expected a mapping"),
    ],
)
def test_2_for_a_wrong_symbols_yml(program: Program, text: str, named: str) -> None:
    program.symbols(text)
    done = program.run()
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert untouched(program)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("CHUNK_DAYS", "none", "CHUNK_DAYS='none': expected a whole number from 1 to 31"),
        ("BINANCE_WEIGHT_SHARE", "2", "BINANCE_WEIGHT_SHARE='2': expected a number above 0 and at most 1"),
        ("BINANCE_API_URL", "api.binance.com", "BINANCE_API_URL='api.binance.com': expected an http"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL='LOUD': expected one of DEBUG"),
        ("START_DATE", "yesterday", "START_DATE='yesterday': expected an ISO date"),
    ],
)
def test_2_for_a_wrong_setting(program: Program, name: str, value: str, named: str) -> None:
    program.settings[name] = value
    done = program.run("--symbols", "BTCUSDT")
    assert done.returncode == 2
    assert named in done.stderr
    assert untouched(program)


def test_3_when_one_series_fails_and_the_others_are_done(program: Program, exchange: ReplayExchange) -> None:
    document = program.run_json("--symbols", "BTCUSDTT", "BTCUSDT", "--start", "2025-01-09", expect=3)
    failed, good = document["series"]
    assert failed["outcome"] == "failed"
    assert "has no symbol BTCUSDTT (did you mean BTCUSDT?)" in failed["error"]
    assert (good["outcome"], good["inserted"]) == ("ok", 12 * 60 + 34)


def test_4_when_another_run_holds_the_lock_within_a_second(program: Program, exchange: ReplayExchange) -> None:
    program.run_json(*SHORT)
    connection = psycopg2.connect(program.database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("select id from public.ohlcv_series")
        (series_id,) = cursor.fetchone()
        assert try_lock_series(Transaction(cursor), [series_id]) == {series_id}
    exchange.clear_requests()
    began = time.monotonic()
    done = program.run(*SHORT)
    took_s = time.monotonic() - began
    assert done.returncode == 4
    assert "another run is working on BTCUSDT/1m; left to that run" in done.stdout
    assert exchange.requests == []
    quiet = program.run(*SHORT, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (4, "", "")  # cron would mail it 288 times a day
    assert took_s < 5  # a second on an idle machine; tests run side by side
    connection.close()
    assert program.run(*SHORT).returncode == 0  # a session that ends leaves no lock


def test_4_still_does_the_series_that_are_free(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT", "ETHUSDT", "--start", "2025-01-09T10:00", "--end", "2025-01-09T11:00")
    connection = psycopg2.connect(program.database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("select id from public.ohlcv_series where symbol = 'BTCUSDT'")
        try_lock_series(Transaction(cursor), [cursor.fetchone()[0]])
    document = program.run_json("--symbols", "BTCUSDT", "ETHUSDT", "--start", "2025-01-09T10:00", expect=4)
    assert [one["outcome"] for one in document["series"]] == ["locked", "ok"]
    failing = program.run("--symbols", "BTCUSDT", "ETHUSDTT", "--start", "2025-01-09T10:00", "--quiet")
    assert failing.returncode == 3, failing.stderr  # 4 hides no failure
    connection.close()


def test_5_when_banned_and_no_request_goes_into_the_ban(program: Program, exchange: ReplayExchange) -> None:
    now_ms = int(time.time() * 1000)
    exchange.clock.set(now_ms)
    body = {"code": -1003, "msg": f"Way too much request weight used; IP banned until {now_ms + MS_PER_HOUR}."}
    exchange.faults.add("/api/v3/time", Answer(418, body))
    done = program.run(*SHORT)
    assert done.returncode == 5, done.stderr
    assert "has banned this address until" in done.stderr
    exchange.clear_requests()
    again = program.run_json(*SHORT, expect=5)
    assert exchange.requests == []
    assert "no request was sent" in again["unusable_markets"]["spot"]


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (451, {"code": 0, "msg": "Service unavailable from a restricted location"}, "does not serve this location"),
        (403, "<HTML><BODY>Request blocked.</BODY></HTML>", "firewall"),
    ],
)
def test_5_when_the_exchange_refuses_this_place(
    program: Program, exchange: ReplayExchange, status: int, body: object, named: str
) -> None:
    exchange.faults.add("/api/v3/", Answer(status, body), times=1000)
    document = program.run_json(*SHORT, expect=5)
    assert named in document["unusable_markets"]["spot"]


def test_5_for_one_market_leaves_the_others_to_be_done(program: Program, exchange: ReplayExchange) -> None:
    exchange.faults.add("/fapi/", Answer(451, {"code": 0, "msg": "restricted location"}), times=1000)
    document = program.run_json("--symbols", "um:BTCUSDT/5m", "BTCUSDT", "--start", "2025-01-09", expect=5)
    assert [one["outcome"] for one in document["series"]] == ["failed", "ok"]
    assert list(document["unusable_markets"]) == ["um"]


def test_5_when_the_exchange_cannot_be_reached(program: Program, exchange: ReplayExchange, tmp_path: Path) -> None:
    program.settings["BINANCE_API_URL"] = "http://127.0.0.1:9"
    no_waiting = tmp_path / "hurry"
    no_waiting.mkdir()
    (no_waiting / "sitecustomize.py").write_text(
        "import threading\nthreading.Event.wait = lambda self, timeout=None: False\n"
    )
    program.settings["PYTHONPATH"] = str(no_waiting)
    done = program.run(*SHORT)
    assert done.returncode == 5, done.stderr
    assert "no whole answer from http://127.0.0.1:9" in done.stderr
    assert "check the network and the address" in done.stderr


@pytest.mark.parametrize("command", ["backfill", "check", "status"])
def test_6_when_the_database_cannot_be_used(program: Program, exchange: ReplayExchange, command: str) -> None:
    program.settings["DATABASE_URL"] = "postgresql://me:hunter2@127.0.0.1:9/nowhere"
    done = program.run(command)
    assert done.returncode == 6
    assert "cannot connect to the database" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_6_when_the_database_goes_away_in_the_middle(program: Program, exchange: ReplayExchange) -> None:
    program.symbols("symbols: [BTCUSDT]")
    exchange.faults.add("klines", Reset(), after=3)
    process = subprocess.Popen(
        program.command("--symbols", "BTCUSDT", "--source", "rest", "--verbose"),
        env=program.full_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "committed" in line:
            break
    program.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'ohlcv_data_fetcher'"
    )
    rest = process.stderr.read()
    assert process.wait(60) == 6, rest
    assert "what was committed stays, run again when the server is back" in rest
    document = program.run_json("--symbols", "BTCUSDT")
    assert document["series"][0]["outcome"] == "ok"
    closed = parse_series("BTCUSDT").interval.floor(NOW_MS)
    assert program.stored("ohlcv_btcusdt")[-1][0] == closed - 60_000


def test_143_when_told_to_stop_and_the_next_run_goes_on(program: Program, exchange: ReplayExchange) -> None:
    from demo.faults import Stall

    exchange.faults.add("klines", Stall(20), after=4)
    process = program.start("--symbols", "BTCUSDT", "--source", "rest")
    deadline = time.monotonic() + 20
    while exchange.count("klines") < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(10) == 143
    assert program.run_json("--symbols", "BTCUSDT")["series"][0]["outcome"] == "ok"


def test_help_names_every_command_and_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, str(PROJECT / "ohlcv_data_fetcher.py"), "--help"], capture_output=True, text=True, check=True
    )
    for word in ("backfill", "check", "status", "demo", "0 all done", "6 the database cannot be used"):
        assert word in done.stdout


def test_json_errors_are_one_document(program: Program) -> None:
    document = program.run_json("--symbols", "BTCUSDT/7m", expect=2)
    assert document["exit_code"] == 2
    assert parse_time("2025-01-09") < NOW_MS
