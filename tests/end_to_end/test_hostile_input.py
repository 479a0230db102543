"""Hostile words on the command line, in the environment, .env and symbols.yml: refused, briefly, harming nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from candles import truth_rows
from program import PROJECT, Program
from small_market import BTC, truth

from core.times import parse_time
from demo.server import ReplayExchange

LONG = "x" * 10_000
HOUR = ("--start", "2025-01-09T10:00", "--end", "2025-01-09T11:00")
PARTS = ("commands", "config", "core", "db", "demo", "fetcher", "logic")

WORDS = {
    "quote": "BTC'USDT",
    "semicolon": 'BTCUSDT"; drop table public.symbols; --',
    "newlines": "BTC\r\nUSDT",
    "terminal escapes": "BTC\x1b[2J\x1b]0;owned\x07\x7fUSDT",
    "path": "../../etc/x",
    "formats": "%s%n%(name)s{0.__class__}[bold red]",
    "nothing": "",
    "unseen": "BTC\u202e\u200bTDSU",
    "not UTF-8": b"BTC\xff\xfe".decode("utf-8", "surrogateescape"),
    "url": "BTCUSDT?x=1&symbol=ETHUSDT#",
    "shell": "$(touch made)`touch made`",
}
# All of it at once, where a run for each would tell no more.
HOSTILE = "x'\"; drop table public.symbols; --\r\n\x1b[2J$(touch made)%s%n[red]/../../etc/x \u202e"


def tables(program: Program) -> list[tuple[object, ...]]:
    return program.query(
        "select table_schema, table_name from information_schema.tables"
        " where table_schema not in ('pg_catalog', 'information_schema') order by 1, 2"
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(program: Program, *arguments: str, exit_code: int = 2, harmless: bool = True) -> str:
    """Run, require a brief refusal that leaves no table and no file behind, return what was said."""
    before = tables(program), files(program.folder.parent)
    done = program.run(*arguments)
    assert done.returncode == exit_code, done.stderr[-2_000:]
    assert_brief(done.stderr)
    assert not harmless or (tables(program), files(program.folder.parent)) == before
    return done.stderr


def assert_brief(text: str) -> None:
    assert "Traceback" not in text, text[-2_000:]
    said = text[text.index("error: ") :]
    assert len(said.splitlines()) <= 4, said[:2_000]
    assert len(said) < 2_000, f"{len(said)} characters"


@pytest.mark.parametrize("name", list(WORDS))
def test_a_hostile_symbol_is_refused_before_anything_is_touched(program: Program, name: str) -> None:
    before = tables(program), files(program.folder.parent)
    done = program.run("--symbols", WORDS[name], "--json")
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (2, 2)
    assert_brief(done.stderr)
    assert "is not a symbol" in done.stderr or "not offered" in done.stderr
    assert not set("\x1b\x07\x7f\r\u202e\u200b") & set(done.stdout + done.stderr)
    assert (tables(program), files(program.folder.parent)) == before


@pytest.mark.parametrize("option", ["--interval", "--start", "--end", "--source", "--subset", "--percent", "--undo"])
def test_hostile_values_of_options_are_refused(program: Program, option: str) -> None:
    command = ["verify"] if option in ("--subset", "--percent", "--undo") else ["backfill", "--symbols", "BTCUSDT"]
    # `verify` writes its log before it asks the database about a run.
    refused(program, *command, option, HOSTILE, harmless=option != "--undo")


@pytest.mark.parametrize("command", ["check", "verify", "status"])
def test_hostile_symbols_of_the_reading_commands_are_refused(program: Program, command: str) -> None:
    before = tables(program)
    refused(program, command, "--symbols", HOSTILE, harmless=False)
    assert tables(program) == before


def test_hostile_patterns_stay_patterns(program: Program, exchange: ReplayExchange) -> None:
    for pattern in ("*'; drop table symbols; --", "[A-Z]*", "*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?Z"):
        done = program.run("--symbols", pattern, *HOUR)
        assert done.returncode in (0, 2) and "Traceback" not in done.stderr, (pattern, done.stderr)
    assert ("public", "symbols") in tables(program)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--symbols", LONG], id="symbol"),
        pytest.param(["--symbols", "*" * 10_000], id="pattern"),
        pytest.param(["--symbols", f"{LONG}:BTCUSDT/{LONG}"], id="market"),
        pytest.param(["--symbols", "BTCUSDT", "--interval", LONG], id="interval"),
        pytest.param(["--symbols", "BTCUSDT", "--start", LONG], id="start"),
        pytest.param(["check", "--end", LONG], id="end"),
        pytest.param(["--source", LONG], id="source"),
        pytest.param([LONG], id="command"),
        pytest.param([f"--{LONG}"], id="option"),
        pytest.param(["verify", "--subset", LONG], id="subset"),
        pytest.param(["verify", "--percent", "9" * 10_000], id="percent"),
        pytest.param(["verify", "--undo", LONG], id="undo"),
    ],
)
def test_a_word_of_ten_thousand_characters_is_not_repeated(program: Program, arguments: list[str]) -> None:
    refused(program, *arguments, harmless="--undo" not in arguments)


@pytest.mark.parametrize("name", ["CHUNK_DAYS", "LOG_LEVEL", "START_DATE", "BINANCE_API_URL"])
def test_a_setting_of_ten_thousand_characters_is_not_repeated(program: Program, name: str) -> None:
    program.settings[name] = LONG
    refused(program, "--symbols", "BTCUSDT")


@pytest.mark.parametrize("name", ["SYMBOLS_FILE", "LOG_DIR", "STATE_DIR"])
def test_a_path_longer_than_the_system_allows_is_refused(program: Program, name: str) -> None:
    program.settings[name] = LONG
    arguments = () if name == "SYMBOLS_FILE" else ("--symbols", "BTCUSDT")
    refused(program, *arguments, harmless=False)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"symbols: {LONG}", id="list"),
        pytest.param(f"symbols: [{LONG}]", id="symbol"),
        pytest.param(f"{LONG}: 1", id="key"),
        pytest.param(f"symbols: [{{symbol: BTCUSDT, start: {LONG}}}]", id="start"),
    ],
)
def test_ten_thousand_characters_in_symbols_yml_are_not_repeated(program: Program, text: str) -> None:
    program.symbols(text)
    refused(program)


@pytest.mark.parametrize("setting", ["CHUNK_DAYS", "DEFAULT_INTERVAL", "BINANCE_API_URL", "END_DATE"])
def test_hostile_settings_are_refused_by_name(program: Program, setting: str) -> None:
    program.settings = {setting: HOSTILE}
    assert setting in refused(program, "--symbols", "BTCUSDT")


def test_a_hostile_database_address_is_refused(program: Program) -> None:
    for address, exit_code in (
        (HOSTILE, 2),
        (f"postgresql://{HOSTILE}", 6),
        (f"postgresql://me@127.0.0.1:1/{HOSTILE}", 6),
    ):
        program.settings["DATABASE_URL"] = address
        refused_without_database(program, exit_code)


def refused_without_database(program: Program, exit_code: int) -> str:
    done = program.run("--symbols", "BTCUSDT")
    assert done.returncode == exit_code, done.stderr[-2_000:]
    assert_brief(done.stderr)
    return done.stderr


@pytest.mark.parametrize("part", ["PG_HOST", "PG_DATABASE", "PG_USER"])
def test_hostile_parts_of_a_database_address_cannot_bring_in_keywords(program: Program, part: str) -> None:
    """A value stays one value: `host=... user=...` inside it is no further keyword."""
    host = program.database_url.split("host=")[1]
    name = program.database_url.split("@/")[1].split("?")[0]
    for word in (f"x' host='{host}' dbname='{name}", "postgresql://postgres@/x"):
        program.settings = {"DATABASE_URL": "", "PG_HOST": host, "PG_DATABASE": name, "PG_USER": "postgres"}
        program.settings[part] = word
        refused_without_database(program, 6)


def test_folders_with_odd_names_are_used_as_they_are(program: Program, exchange: ReplayExchange) -> None:
    odd = program.folder / "a 'b\" ;c\n\x1b[1m $(touch made) äß %s"
    program.environment |= {"STATE_DIR": str(odd / "state"), "LOG_DIR": str(odd / "logs")}
    program.environment["SYMBOLS_FILE"] = str(odd / "my symbols.yml")
    odd.mkdir()
    (odd / "my symbols.yml").write_text("symbols: [BTCUSDT]\n", encoding="utf-8")
    done = program.run(*HOUR)
    assert done.returncode == 0, done.stderr
    assert (odd / "state" / "spot_BTCUSDT_1m.json").exists() and (odd / "logs" / "ohlcv_backfill.log").exists()
    assert not (program.folder / "made").exists() and not (program.folder / "state").exists()


@pytest.mark.parametrize("name", ["STATE_DIR", "LOG_DIR", "SYMBOLS_FILE"])
def test_a_path_that_is_a_file_or_a_folder_where_the_other_is_meant(
    program: Program, exchange: ReplayExchange, name: str
) -> None:
    path = program.folder / "something"
    if name == "SYMBOLS_FILE":
        path.mkdir()
    else:
        path.write_text("mine")
    program.environment[name] = str(path)
    done = program.run(*([] if name == "SYMBOLS_FILE" else ["--symbols", "BTCUSDT", *HOUR]))
    # A state folder is a cache: without one the run goes on.
    assert done.returncode == (0 if name == "STATE_DIR" else 2), done.stderr
    assert "Traceback" not in done.stderr and str(path) in done.stderr
    assert name == "SYMBOLS_FILE" or path.read_text() == "mine"


@pytest.fixture(scope="module")
def copied_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in a folder of its own, where a .env can be written that is nobody's."""
    folder = tmp_path_factory.mktemp("copied") / "project"
    folder.mkdir()
    for part in PARTS:
        shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "ohlcv_data_fetcher.py", folder)
    return folder


def run_with_env_file(project: Path, program: Program, env_file: bytes, *arguments: str) -> tuple[int, str]:
    (project / ".env").write_bytes(env_file)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DATABASE_URL"))}
    named = {line.split(b"=")[0].decode("ascii", "ignore") for line in env_file.splitlines()}
    environment |= {name: value for name, value in program.environment.items() if name not in named}
    done = subprocess.run(
        [sys.executable, str(project / "ohlcv_data_fetcher.py"), *arguments],
        env=environment, cwd=program.folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "line",
    [
        b"CHUNK_DAYS=$(touch made)",
        b'LOG_LEVEL="INFO\nDATABASE_URL=x"',
        b"STATE_DIR=a\0b",
        b"SYMBOLS_FILE=\0",
        b"\xff\xfe\0\0",
    ],
)
def test_hostile_lines_of_an_env_file_are_refused(program: Program, copied_project: Path, line: bytes) -> None:
    before = tables(program)
    code, said = run_with_env_file(copied_project, program, line + b"\n", "--symbols", "BTCUSDT")
    assert code == 2, said
    assert_brief(said)
    assert tables(program) == before and not (program.folder / "made").exists()


@pytest.mark.parametrize(
    "line",
    [
        b"DATABASE_URL=postgresql://a\0b@h/x",
        b"PG_USER=a\0b",
        b"PG_PASSWORD=a\0b",
    ],
)
def test_a_database_address_with_a_null_in_an_env_file_is_refused(
    program: Program, copied_project: Path, line: bytes
) -> None:
    del program.environment["DATABASE_URL"]
    code, said = run_with_env_file(copied_project, program, line + b"\n", "--symbols", "BTCUSDT")
    assert code in (2, 6), said
    assert_brief(said)


def test_the_longest_symbols_of_other_scripts_have_table_and_file(program: Program, exchange: ReplayExchange) -> None:
    """Unknown to the exchange, so they fail alone; their names are no trouble to database or file system."""
    names = ["币" * 50, "𝔄" * 50, "A" * 50, "__" * 25]
    document = program.run_json("--symbols", *names, "BTCUSDT", *HOUR, expect=3)
    assert [one["outcome"] for one in document["series"]] == ["failed"] * 4 + ["ok"]
    hour = truth(exchange.store, BTC, parse_time("2025-01-09T10:00"), parse_time("2025-01-09T11:00"))
    assert program.stored("ohlcv_btcusdt") == truth_rows(hour)
    status = program.run_json("status")["series"]
    assert {one["symbol"] for one in status} >= {"BTCUSDT"}


def test_rows_written_into_the_list_by_a_hostile_hand_are_refused(program: Program) -> None:
    """`public.symbols` may be edited by hand: what stands there is data, not SQL and not a path."""
    for symbol in ("../../etc/x", "X'; drop table public.symbols; --\n"):
        quoted = symbol.replace("'", "''")
        program.query("delete from public.symbols")
        program.query(f"insert into public.symbols (symbol, active) values ('{quoted}', true)")
        said = refused(program, harmless=False)
        assert "public.symbols" in said
    assert ("public", "symbols") in tables(program)
