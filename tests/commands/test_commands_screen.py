from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from commands.options import OutputOptions, Verbosity
from commands.progress import ProgressBar
from commands.screen import Column, Report, Row, Tone, print_report

COLUMNS = (
    Column("series"),
    Column("verdict"),
    Column("stored", is_number=True),
    Column("not at exchange", is_number=True, rank=1),
    Column("extra", is_number=True, is_dull_when_zero=True),
    Column("range", rank=2),
)
NAMES = ["BTCUSDT/1m", "um:1000000MOGUSDT/15m", "cm:BTCUSD_PERP/15m", "币安人生USDT/1m", "um:ETHUSDT_240628/1h"] * 8


def rows(needs: int = 0, details: int = 0) -> list[Row]:
    span = "2017-08-17T04:00Z .. 2025-01-09T12:34Z"
    return [
        Row(
            [name, "complete", "133,840,000", "1,234", "0", span],
            Tone.WRONG if place < needs else Tone.GOOD,
            ("1 candle in 2024-12-20 missing; check --heal asks for it, and this goes on for longer than a line",)
            if place < needs
            else (),
            [f"detail {number}" for number in range(details)],
        )
        for place, name in enumerate(NAMES)
    ]


def shown(report: Report, width: int, verbosity: Verbosity = Verbosity.NORMAL, is_terminal: bool = True) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=width, no_color=True, highlight=False)
    print_report(console, report, OutputOptions(verbosity=verbosity))
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).splitlines()


@pytest.mark.parametrize("width", range(60, 130, 7))
def test_forty_series_fit_every_terminal_and_each_stands_in_one_line(width: int) -> None:
    lines = shown(Report("40 series complete", COLUMNS, rows(needs=3, details=2)), width)
    assert max(map(cell_len, lines)) <= width
    table = [line for line in lines if "133,840,000" in line]
    assert len(table) == 40
    assert any("range" in line for line in lines) is (width >= 102)


def test_a_column_that_is_only_zero_is_left_out_of_a_table_and_stays_in_lines() -> None:
    report = Report("", COLUMNS, rows())
    assert not any("extra" in line for line in shown(report, 120))
    assert shown(report, 80, is_terminal=False)[1] == (
        "BTCUSDT/1m: complete, stored 133,840,000, not at exchange 1,234, extra 0, "
        "range 2017-08-17T04:00Z .. 2025-01-09T12:34Z"
    )


def test_numbers_end_in_one_column() -> None:
    cells = [Row(["A/1m", "ok", count, "0", "0", "-"]) for count in ("7", "12,345")]
    lines = [line for line in shown(Report("", COLUMNS, cells), 80) if line.startswith("A/1m")]
    assert lines[0].index("7") == lines[1].index("5")


def test_what_needs_a_person_is_counted_and_cut_and_verbose_has_all() -> None:
    report = Report("40 series complete", COLUMNS, rows(needs=15, details=1))
    lines = shown(report, 120)
    assert lines[0] == "15 of 40 series need you:"
    assert sum("check --heal" in line for line in lines) == 10
    assert "  ... and 5 more series, --verbose shows them" in lines
    assert "... and 30 lines more, --verbose shows them" in lines
    everything = shown(report, 120, Verbosity.VERBOSE)
    assert sum("check --heal" in line for line in everything) == 15
    assert sum(": detail 0" in line for line in everything) == 40


def test_quiet_is_silent_when_all_is_well_and_else_tells_the_needy_alone() -> None:
    assert shown(Report("", COLUMNS, rows()), 80, Verbosity.QUIET) == []
    lines = shown(Report("", COLUMNS, rows(needs=1)), 80, Verbosity.QUIET, is_terminal=False)
    assert lines[0] == "1 of 40 series needs you:"
    assert len(lines) == 3 and all("BTCUSDT/1m" in line for line in lines[1:])
    unusable = Report("", COLUMNS, rows(), needs=["market um cannot be used: banned"])
    assert shown(unusable, 80, Verbosity.QUIET, is_terminal=False) == ["  market um cannot be used: banned"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_brackets_of_a_message_are_shown_as_they_are(is_terminal: bool) -> None:
    told = "the answer [null] of [/data/x] is [red]no[/red] list"
    row = Row(["BTCUSDT/1m", told, "1", "2", "3", "4"], Tone.WRONG, (told,), (told,))
    lines = shown(Report("", COLUMNS, [row], (told,), (told,)), 400, is_terminal=is_terminal)
    assert sum(told in line for line in lines) == 5


def test_brackets_do_no_harm_in_a_progress_bar() -> None:
    file = io.StringIO()
    with ProgressBar(Console(file=file, force_terminal=True, width=80)) as bar:
        bar.start(2, "[/data/x]")
        bar.advance(1, "[null]")
    assert "[/data/x]" in file.getvalue() and "[null]" in file.getvalue()
