"""What a person sees: the verdict first, no line wider than the terminal, and nothing but plain lines in a pipe."""

from __future__ import annotations

import pytest
from program import Program
from rich.cells import cell_len
from terminal import BAR, run_in_terminal

from demo.server import ReplayExchange

SYMBOLS = "symbols:\n  - {symbol: BTCUSDT, start: 2024-12-10}\n  - {symbol: 'cm:BTCUSD_PERP/15m'}\n  - BTCUSDT/1h\n"
COMMANDS = {
    "backfill": [],
    "dry run": ["--dry-run"],
    "check": ["check"],
    "gaps": ["check", "--gaps"],
    "verbose": ["check", "--verbose"],
    "verify": ["verify"],
    "against 1m": ["verify", "--against", "1m"],
    "status": ["status"],
    "verbose status": ["status", "--verbose"],
    "misspelt": ["chekc", "--hael"],
    "unknown symbol": ["--symbols", "BTCUSDTT", "BTCUSDT", "--start", "2025-01-09"],
}


def damage(program: Program) -> None:
    program.query(
        "delete from public.ohlcv_btcusdt where time >= '2024-12-20 00:00+00' and time < '2024-12-20 05:00+00'"
    )
    program.query("update public.ohlcv_btcusdt_1h set close = close + 1 where time = '2024-12-21 00:00+00'")


@pytest.fixture
def stored(program: Program, exchange: ReplayExchange) -> Program:
    program.symbols(SYMBOLS)
    assert program.run().returncode == 0
    return program


@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.long)])
def test_no_line_is_wider_than_the_terminal(stored: Program, columns: int) -> None:
    well = {f"{name}, all is well": COMMANDS[name] for name in ("backfill", "check", "status")}
    for name, arguments in (well | COMMANDS).items():
        if name == next(iter(COMMANDS)):
            damage(stored)
        shown = run_in_terminal(stored, *arguments, columns=columns)
        assert shown.text.strip() and "Traceback" not in shown.text, (name, shown.text)
        wide = [line for line in shown.lines if cell_len(line) > columns]
        assert not wide, (name, wide)


def test_the_verdict_comes_first_then_what_mends_then_the_rows(stored: Program) -> None:
    well = run_in_terminal(stored, "check")
    assert well.settled[0].startswith("ok: 3 series complete, ") and "not at the exchange" in " ".join(well.settled[:2])
    damage(stored)
    shown = run_in_terminal(stored, "check")
    assert shown.code == 3
    assert shown.settled[0] == "2 of 3 series need you:"
    told = " ".join(shown.text.split())
    assert "BTCUSDT/1m: 300 candles in 2024-12-20 .. 2024-12-20T05:00Z missing" in told
    assert "check --heal" in told and "verify --repair" in told
    assert shown.text.index("need you") < shown.text.index("check --heal") < shown.text.index("MISSING")


def test_a_terminal_shows_each_series_of_a_backfill_once(program: Program, exchange: ReplayExchange) -> None:
    program.symbols(SYMBOLS)
    shown = run_in_terminal(program)
    assert shown.code == 0
    settled = shown.text[shown.text.index("ok: 3 series") :]
    assert settled.count("BTCUSDT/1m") == 1
    assert "INFO" not in shown.text
    assert "BTCUSDT/1m: ok" in program.log_text  # the log file keeps its line


def test_a_terminal_has_a_bar_and_colour_and_no_colour_where_that_is_asked_for(
    program: Program, exchange: ReplayExchange
) -> None:
    program.symbols(SYMBOLS)
    shown = run_in_terminal(program)
    assert BAR & set(shown.raw) and "%" in shown.raw
    assert shown.has_color
    assert run_in_terminal(program, "check").has_color
    for arguments in (["check"], ["status"], [], ["chekc"]):
        assert not run_in_terminal(program, *arguments, NO_COLOR="1").has_color, arguments


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["check"],
        *(pytest.param(one, marks=pytest.mark.long) for one in (["check", "--heal"], ["verify"], ["status"])),
    ],
)
def test_a_pipe_gets_plain_lines_and_nothing_of_a_bar(
    program: Program, exchange: ReplayExchange, arguments: list[str]
) -> None:
    program.symbols(SYMBOLS)
    if arguments:
        assert program.run().returncode == 0
        damage(program)
    done = program.run(*arguments)
    for text in (done.stdout, done.stderr):
        assert not {"\x1b", "\r", "│", "─", *BAR} & set(text)
        assert not any(line != line.rstrip() for line in text.splitlines())
    assert any(line.startswith("BTCUSDT/1m: ") for line in done.stdout.splitlines())


def test_quiet_is_silent_when_all_is_well_and_names_what_is_not(stored: Program) -> None:
    for arguments in (["backfill"], ["check"], ["check", "--heal"], ["verify"], ["status"]):
        done = stored.run(*arguments, "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), arguments
    damage(stored)
    done = stored.run("check", "--quiet")
    assert done.returncode == 3
    assert "BTCUSDT/1m: 300 candles" in done.stdout and "cm:BTCUSD_PERP/15m" not in done.stdout


def test_json_on_a_terminal_is_the_document_alone(stored: Program) -> None:
    for arguments in (["check"], ["status"]):
        shown = run_in_terminal(stored, *arguments, "--json")
        assert shown.text.lstrip().startswith("{") and shown.text.rstrip().endswith("}")
        assert "\x1b" not in shown.raw
