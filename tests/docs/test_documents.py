"""The documents say what the program does: settings, options and exit codes are held against the code."""

from __future__ import annotations

import re
from pathlib import Path

from dotenv import dotenv_values

import core.errors
from config.settings import SETTINGS, load_settings
from config.symbols import load_symbols_file
from ohlcv_data_fetcher import build_parser

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_env_example_lists_every_setting_with_its_default() -> None:
    listed = dotenv_values(PROJECT / ".env.example", interpolate=False)
    assert listed == {setting.name: setting.default for setting in SETTINGS}


def test_env_example_as_it_stands_is_the_defaults() -> None:
    assert load_settings({}, PROJECT / ".env.example") == load_settings({}, None)


def test_the_readme_lists_every_setting_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\| (.*) \|$", README, re.MULTILINE)
    assert rows == [(setting.name, setting.default, setting.meaning) for setting in SETTINGS]


def test_the_readme_names_every_command_and_option() -> None:
    parser = build_parser()
    commands = next(action for action in parser._actions if action.dest == "command").choices
    assert commands is not None
    for name, command in dict(commands).items():
        assert f"`{name}`" in README
        for action in command._actions:
            for option in action.option_strings:
                if option not in ("-h", "--help"):
                    assert option in README, option


def test_the_readme_lists_every_exit_code() -> None:
    codes = {value for name, value in vars(core.errors).items() if name.startswith("EXIT_")}
    listed = {int(code) for row in re.findall(r"^\| ([\d, ]+) \| ", README, re.MULTILINE) for code in row.split(",")}
    assert listed == codes | {130, 143}


def test_the_shipped_symbols_yml_is_valid_and_bounded() -> None:
    wanted = load_symbols_file(PROJECT / "symbols.yml", "1m", None, None)
    assert wanted.entries
    assert all(entry.start_ms is not None for entry in wanted.entries)


def test_no_document_or_source_names_a_place_of_its_makers() -> None:
    for path in PROJECT.rglob("*"):
        if path.suffix in (".md", ".py", ".yml", ".toml") and ".venv" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w.])/(?:work|root)/", text), path
