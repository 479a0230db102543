"""Who may import whom: the folders of the project. Reads the source, imports nothing of it."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from house import ROOT, offenders, parsed, sources_of, text_of

ENTRYPOINT = "ohlcv_data_fetcher"
FOLDERS = ("core", "config", "fetcher", "db", "bus", "logic", "commands", "demo", "benchmarks")
PROJECT = {*FOLDERS, "tests", "bootstrap", ENTRYPOINT}

MAY_IMPORT = {
    "core": {"core"},
    "config": {"config", "core"},
    "fetcher": {"fetcher", "core"},
    "db": {"db", "core"},
    "bus": {"bus", "core"},
    "logic": {"logic", "core", "fetcher", "db", "bus"},
    "demo": {"demo", "core"},
    "commands": {"commands", "config", "logic", "core"},
    ENTRYPOINT: {"commands", "config", "core"},
    "bootstrap": set(),
    "benchmarks": PROJECT - {"commands", ENTRYPOINT, "bootstrap"},
}
# What one file alone may import beside what its folder may.
ALONE = {"commands/demo.py": {"demo"}}
# The parts of the standard library that neither read a clock nor do I/O, and Arrow as a value library.
PURE = {"__future__", "bisect", "collections", "dataclasses", "datetime", "decimal", "difflib", "enum", "fnmatch"}
PURE |= {"fractions", "functools", "hashlib", "itertools", "math", "operator", "re", "string", "types", "typing"}
PURE |= {"pyarrow", "pyarrow.compute", "collections.abc"}
CLOCKS_AND_IO = {"now", "utcnow", "today", "open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
CONFIG_LIBRARIES = {"dotenv", "yaml"}
# What the replay exchange may take from core: values and names. The exchange's facts it states itself.
DEMO_NAMES = {
    "core.errors": {"ConfigurationError"},
    "core.intervals": {"INTERVALS", "Interval"},
    "core.ranges": {"Span", "merge", "subtract"},
    "core.instrument": {"Market"},
    "core.series": {"Series", "make_series"},
    "core.times": {"MS_PER_DAY", "MS_PER_HOUR", "MS_PER_MINUTE", "MS_PER_SECOND"}
    | {"add_months", "first_of_month", "parse_time", "to_datetime"},
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a source imports, at its top or anywhere inside."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def wrong_arrows(folder: str, source: str) -> list[str]:
    """Return what a source text in `folder` imports or calls against the rules."""
    tree = parsed(source)
    wrong = []
    for module in imported(tree):
        top = module.split(".")[0]
        if module.startswith("."):
            wrong.append(f"{folder} imports {module} relatively")
        elif top in PROJECT:
            if top not in MAY_IMPORT[folder]:
                wrong.append(f"{folder} imports {top}")
        elif folder == "core" and module not in PURE:
            wrong.append(f"core imports {module}")
        elif folder == "config" and top not in sys.stdlib_module_names | CONFIG_LIBRARIES:
            wrong.append(f"config imports {module}")
    if folder == "demo":
        wrong += demo_facts(tree)
    if folder == "core":
        wrong += [f"core uses {name}" for name in used_names(tree) if name in CLOCKS_AND_IO]
    return wrong


def demo_facts(tree: ast.AST) -> Iterator[str]:
    """Yield what the replay exchange takes from core that is more than a value or a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"demo imports {name.name}" for name in node.names if name.name.split(".")[0] == "core")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "core":
            allowed = DEMO_NAMES.get(node.module or "", set())
            yield from (f"demo imports {node.module}.{name.name}" for name in node.names if name.name not in allowed)


def used_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def wrong_in_file(place: str) -> list[str]:
    folder = place.split("/")[0].removesuffix(".py")
    also = {f"{folder} imports {one}" for one in ALONE.get(place, ())}
    return [arrow for arrow in wrong_arrows(folder, text_of(place)) if arrow not in also]


def test_a_file_imports_only_what_its_folder_may() -> None:
    places = [*sources_of(*FOLDERS), *(path.name for path in ROOT.glob("*.py"))]
    assert {place.split("/")[0] for place in places} >= {*FOLDERS, f"{ENTRYPOINT}.py", "bootstrap.py"}
    assert offenders(places, wrong_in_file) == {}


def test_every_folder_of_the_project_has_its_rule() -> None:
    top_level = {path.parent.name for path in ROOT.glob("*/*.py")} | {path.stem for path in ROOT.glob("*.py")}
    assert {name for name in top_level if not name.startswith(".")} - {"tests"} <= set(MAY_IMPORT)
    assert {"core", "config", "fetcher", "db", "logic"} <= top_level


def test_no_two_files_of_tests_have_one_name() -> None:
    """Each alone is found; both in one run end it before the first test: pytest imports them by their names."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize(
    ("folder", "source", "wrong"),
    [
        ("core", "from db.schema import COLUMNS", "core imports db"),
        ("core", "import requests", "core imports requests"),
        ("core", "import psycopg2.extensions", "core imports psycopg2.extensions"),
        ("core", "import os", "core imports os"),
        ("core", "from time import time", "core imports time"),
        ("core", "from pathlib import Path", "core imports pathlib"),
        ("core", "def f():\n    import socket", "core imports socket"),
        ("core", "import pyarrow.csv", "core imports pyarrow.csv"),
        ("core", "moment = datetime.now(UTC)", "core uses now"),
        ("core", "clock = datetime.utcnow", "core uses utcnow"),
        ("core", "text = open('x').read()", "core uses open"),
        ("core", "from . import times", "core imports . relatively"),
        ("config", "import db.connection", "config imports db"),
        ("config", "import requests", "config imports requests"),
        ("fetcher", "from config.settings import Settings", "fetcher imports config"),
        ("db", "from fetcher.http import Sleep", "db imports fetcher"),
        ("bus", "from logic.live.sink import LiveSink", "bus imports logic"),
        ("logic", "if TYPE_CHECKING:\n    from config.settings import Settings", "logic imports config"),
        ("logic", "from commands.output import print_json", "logic imports commands"),
        ("demo", "import logic.backfill.ohlcv_handler", "demo imports logic"),
        ("demo", "from core.binance.rules import page_weight", "demo imports core.binance.rules.page_weight"),
        ("demo", "from core.intervals import closed_end", "demo imports core.intervals.closed_end"),
        ("demo", "import core.binance.archives", "demo imports core.binance.archives"),
        ("commands", "import ohlcv_data_fetcher", "commands imports ohlcv_data_fetcher"),
        ("commands", "from db.connection import Database", "commands imports db"),
        ("commands", "import fetcher.source", "commands imports fetcher"),
        ("commands", "import demo.server", "commands imports demo"),
    ],
)
def test_the_checker_itself_sees_a_wrong_arrow(folder: str, source: str, wrong: str) -> None:
    assert wrong_arrows(folder, source) == [wrong]


def test_the_checker_lets_the_right_arrows_pass() -> None:
    assert wrong_arrows("core", "import math\nimport pyarrow.compute as pc\nfrom core.times import MS_PER_DAY") == []
    assert wrong_arrows("config", "import yaml\nfrom core.errors import FetcherError\nfrom pathlib import Path") == []
    assert wrong_arrows("commands", "import core.gaps, logic.gaps.checker, config.settings") == []
