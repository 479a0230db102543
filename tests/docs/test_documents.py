"""The documents say what the program does: settings, options, exit codes and links are held against what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

import core.exit_codes
from commands.command_line import command_parser
from commands.table import COMMANDS as COMMAND_TABLE
from commands.table import load_command
from config.settings import SETTINGS, load_settings
from config.symbols import load_symbols_file

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
COMMANDS = (PROJECT / "docs" / "commands.md").read_text(encoding="utf-8")
SETTINGS_PAGE = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
NOT_OURS = {".venv", ".venv-benchmarks", ".git", ".pytest_cache"}

# What the words were before; the changelog says what they have become.
OLD_WORDS = (
    "ohlcv_foreign_changes",
    "foreign hand",
    "next_look",
    "proven_at",
    "proven_before",
    "tried_at",
    "VANISHED",
    "contract section",
)


def ours(*endings: str) -> list[Path]:
    return sorted(
        path for path in PROJECT.rglob("*") if path.suffix in endings and not NOT_OURS.intersection(path.parts)
    )


PAGES = ours(".md")


def test_env_example_lists_every_setting_with_its_default() -> None:
    listed = dotenv_values(PROJECT / ".env.example", interpolate=False)
    assert listed == {setting.name: setting.default for setting in SETTINGS}


def test_env_example_as_it_stands_is_the_defaults() -> None:
    assert load_settings({}, PROJECT / ".env.example") == load_settings({}, None)


def test_the_settings_page_lists_every_setting_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\| (.*) \|$", SETTINGS_PAGE, re.MULTILINE)
    assert rows == [(setting.name, setting.default, setting.meaning) for setting in SETTINGS]


def test_the_commands_page_names_every_command_and_option_and_the_readme_every_command() -> None:
    for name in COMMAND_TABLE:
        assert f"| `{name}` |" in README
        assert f"| `{name}` |" in COMMANDS
        for action in command_parser(name, load_command(name))._actions:
            for option in action.option_strings:
                assert re.search(rf"`{re.escape(option)}[ `]", COMMANDS), option


def test_the_commands_page_names_no_option_that_there_is_not() -> None:
    parsers = [command_parser(name, load_command(name)) for name in COMMAND_TABLE]
    known = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    assert set(re.findall(r"`(--[a-z-]+)", COMMANDS)) <= known


def test_the_commands_page_lists_every_exit_code() -> None:
    codes = {value for name, value in vars(core.exit_codes).items() if name.startswith("EXIT_")}
    table = COMMANDS.split("## Exit codes\n")[1]
    listed = {int(code) for row in re.findall(r"^\| ([\d, ]+) \| ", table, re.MULTILINE) for code in row.split(",")}
    assert listed == codes | {130, 143}


def test_the_readme_is_one_page_and_names_the_test_command() -> None:
    assert len(README.splitlines()) <= 110
    assert "`python3 bootstrap.py test`" in README


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(anchor if anchor not in found else f"{anchor}-1")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_document_is_in_the_index() -> None:
    index = (PROJECT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in sorted((PROJECT / "docs").rglob("*.md")):
        name = page.relative_to(PROJECT / "docs").as_posix()
        assert name == "README.md" or f"({name})" in index, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_no_document_speaks_the_old_words(page: Path) -> None:
    if page.name != "CHANGELOG.md":
        text = page.read_text(encoding="utf-8")
        assert [word for word in OLD_WORDS if word in text] == []


def test_a_place_in_the_facts_of_the_exchange_that_the_code_names_is_a_heading() -> None:
    """A comment says `docs/binance.md, Klines` and means the heading `Klines`."""
    headings = set(
        re.findall(r"^#+ (.+)$", (PROJECT / "docs" / "binance.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for path in ours(".py", ".sql"):
        for named in re.findall(r"docs/binance\.md, ([A-Z][^\n]*)", path.read_text(encoding="utf-8")):
            assert any(named.startswith(heading) for heading in headings), f"{path}: {named}"


def test_the_shipped_symbols_yml_is_valid_and_bounded() -> None:
    wanted = load_symbols_file(PROJECT / "symbols.yml", "1m", None, None)
    assert wanted.entries
    assert all(entry.start_ms is not None for entry in wanted.entries)


def test_no_document_or_source_names_a_place_of_its_makers() -> None:
    for path in ours(".md", ".py", ".yml", ".toml", ".svg"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(?:work|root)/", text), path


def test_every_document_that_a_source_names_is_there() -> None:
    for path in ours(".py", ".sql", ".yml", ".toml"):
        for name in re.findall(r"(docs/(?:adr/)?[a-z0-9-]+\.md)", path.read_text(encoding="utf-8")):
            assert (PROJECT / name).exists(), f"{path}: {name}"


def test_no_source_refers_to_a_paper_that_is_not_part_of_the_project() -> None:
    named = [str(path) for path in ours(".py", ".sql", ".yml", ".toml") if path != Path(__file__)]
    assert [path for path in named if re.search(r"contract sections?\b", Path(path).read_text(encoding="utf-8"))] == []


def test_the_schedules_night_begins_between_two_of_its_five_minute_runs() -> None:
    text = (PROJECT / "docs" / "scheduling.md").read_text(encoding="utf-8")
    nights = re.findall(r"^(\d+) \d+ \* \* \* .*check --heal", text, re.MULTILINE)
    nights += re.findall(r"OnCalendar=\*-\*-\* \d\d:(\d\d)|/SC DAILY /ST \d\d:(\d\d)", text)
    minutes = [int("".join(found)) for found in nights]
    assert len(minutes) == 4 and all(minute % 5 for minute in minutes)
