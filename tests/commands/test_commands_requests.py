from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from commands.backfill import BackfillRequest
from commands.check import CheckRequest
from commands.command_line import UsageError, parse_command_line
from commands.demo import DemoRequest
from commands.options import OutputOptions, Verbosity
from commands.server import ServerRequest
from commands.status import StatusRequest
from commands.verify import UndoRequest, VerifyRequest
from config.settings import load_settings
from core.errors import ConfigurationError
from core.ranges import TimeRange
from core.series import parse_series
from core.sources import AllowedSources
from core.subset import parse_part
from core.times import parse_time
from core.wanted import Wanted, WantedSeries

PROJECT = Path(__file__).parents[2]
DAY = ("--start", "2025-01-08", "--end", "2025-01-09")
RANGE = TimeRange(parse_time("2025-01-08"), parse_time("2025-01-09"))


def request(*argv: str, **environment: str) -> Any:
    line = parse_command_line(argv)
    return line.command.read_request(line.arguments, load_settings(environment, None))


def test_without_a_command_it_is_a_backfill() -> None:
    asked = request("--symbols", "um:BTCUSDT/5m", *DAY, "--source", "rest", "--heal-gaps", "--json")
    assert isinstance(asked, BackfillRequest)
    series = WantedSeries(parse_series("um:BTCUSDT/5m"), RANGE.start_ms, RANGE.end_ms)
    assert asked.wanted.wanted == Wanted((series,)) and not asked.wanted.is_whole_list
    assert (asked.sources, asked.heal_gaps, asked.dry_run) == (AllowedSources.REST, True, False)
    assert asked.output == OutputOptions(json=True)


def test_a_backfill_of_symbols_yml_is_the_whole_file_unless_options_change_it(tmp_path: Path) -> None:
    file = tmp_path / "symbols.yml"
    file.write_text("symbols: [BTCUSDT]")
    assert request(SYMBOLS_FILE=str(file)).wanted.is_whole_list
    assert not request(*DAY, SYMBOLS_FILE=str(file)).wanted.is_whole_list
    assert not request("--interval", "1h", SYMBOLS_FILE=str(file)).wanted.is_whole_list
    assert request(SYMBOLS_FILE=str(tmp_path / "none" / "symbols.yml")).wanted.wanted is None


def test_check_status_verify_server_and_demo_become_values() -> None:
    checked = request("check", *DAY, "--heal", "--gaps", "--quiet")
    assert checked == CheckRequest(None, RANGE, True, True, OutputOptions(verbosity=Verbosity.QUIET))
    shown = request("status", "--symbols", "BTCUSDT", "--verbose")
    wanted = Wanted((WantedSeries(parse_series("BTCUSDT/1m")),))
    assert shown == StatusRequest(wanted, OutputOptions(verbosity=Verbosity.VERBOSE))
    assert request("server", "stop", EMBEDDED_PG_DIR="/data/pg") == ServerRequest(False, Path("/data/pg"))
    started = request("server", "start", "/data/old", "--programs", "/pg/15/bin", "--quiet")
    quiet = OutputOptions(verbosity=Verbosity.QUIET)
    assert started == ServerRequest(True, Path("/data/old"), Path("/pg/15/bin"), quiet)
    assert request("verify", "--subset", "1/30") == VerifyRequest(part=parse_part("1/30"))
    assert request("verify", "--percent", "2.5", "--repair").share == Fraction("0.025")
    assert request("verify", "--against", "archive").against is AllowedSources.ARCHIVE
    assert request("verify", "--against", "1m").against is None
    assert request("verify", "--undo", "abc") == UndoRequest("abc")
    assert request("demo", "--recordings", str(Path(__file__).parent)) == DemoRequest(Path(__file__).parent)


@pytest.mark.parametrize(
    "argv",
    [
        ("check", "--start", "2025-02-30"),
        ("check", "--start", "2025-01-02", "--end", "2025-01-01"),
        ("check", "--symbols", "BTCUSDT/7m"),
        ("verify", "--subset", "31/30"),
        ("verify", "--percent", "200"),
        ("verify", "--against", "1m", "--repair"),
        ("verify", "--undo", "abc", "--start", "2025-01-01"),
        ("demo", "--recordings", "no/such/folder"),
    ],
)
def test_what_is_wrong_is_refused_before_a_command_runs(argv: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        request(*argv)


def test_what_leaves_no_trace_has_no_log_file() -> None:
    settings = load_settings({}, None)
    for argv in (("check",), ("status",), ("--symbols", "BTCUSDT", "--dry-run")):
        assert request(*argv).log_dir(settings) is None, argv
    for argv in (("check", "--heal"), ("verify",), ("--symbols", "BTCUSDT")):
        assert request(*argv).log_dir(settings) == settings.log_dir, argv
    assert request("demo").log_dir(settings) == settings.log_dir / "demo"


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("chekc",), "(did you mean check?)"),
        (("stauts", "--json"), "(did you mean status?)"),
        (("check", "--hael"), "(did you mean --heal?)"),
        (("--sybmols", "BTCUSDT"), "(did you mean --symbols?)"),
        (("verify", "--repiar"), "(did you mean --repair?)"),
        (("frobnicate",), "there are backfill, stream, check, verify, status, monitor, server, demo"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(argv: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_command_line(argv)
    assert told in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    "argv", [("check", "--json", "extra"), ("verify", "--repair", "--undo", "a"), ("--quiet", "--verbose")]
)
def test_wrong_usage_says_where_the_options_stand(argv: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"see ohlcv_data_fetcher.py \w+ --help"):
        parse_command_line(argv)


def test_status_starts_without_what_only_a_run_needs() -> None:
    """A new process, because here all of it is loaded."""
    asked = "import sys, commands.status; print(*sorted({'requests', 'yaml', 'logic.backfill.run'} & {*sys.modules}))"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert found.stdout == "\n"
