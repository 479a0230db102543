"""Nothing in the project is too large to be read at once."""

from __future__ import annotations

import ast

import pytest
from house import offenders, parsed, sources_of, text_of

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50
MOST_PARAMETERS = 6
FOLDERS = ("core", "config", "fetcher", "db", "bus", "logic", "commands", "demo")
PLACES = [*sources_of(*FOLDERS), "ohlcv_data_fetcher.py"]


def too_large(source: str) -> list[str]:
    """Return what of a source text is too large."""
    wrong = []
    if (lines := len(source.splitlines())) > MOST_LINES_OF_A_FILE:
        wrong.append(f"the file has {lines} lines")
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                wrong.append(f"{node.name} has {lines} lines")
            if (count := len(parameters(node.args))) > MOST_PARAMETERS:
                wrong.append(f"{node.name} has {count} parameters")
    return wrong


def parameters(arguments: ast.arguments) -> list[str]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [one.arg for one in named if one.arg not in ("self", "cls")]


def test_nothing_is_too_large() -> None:
    assert offenders(PLACES, lambda place: too_large(text_of(place))) == {}


def test_all_folders_are_looked_at() -> None:
    assert {place.split("/")[0] for place in PLACES} == {*FOLDERS, "ohlcv_data_fetcher.py"}


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("x = 1\n" * 401, "the file has 401 lines"),
        ("def f():\n" + "    x = 1\n" * 50, "f has 51 lines"),
        ("class C:\n    async def f(self):\n" + "        x = 1\n" * 50, "f has 51 lines"),
        ("def f(a, b, c, d, e, f, g): ...", "f has 7 parameters"),
        ("class C:\n    def f(self, a, b, /, c, d, *, e, f, g): ...", "f has 7 parameters"),
    ],
)
def test_what_is_too_large_is_seen(source: str, wrong: str) -> None:
    assert too_large(source) == [wrong]


def test_the_largest_allowed_passes() -> None:
    assert too_large("x = 1\n" * 400) == []
    assert too_large("def f():\n" + "    x = 1\n" * 49) == []
    assert too_large("class C:\n    def f(self, a, b, c, d, e, *, f): ...") == []
