"""Who may import whom inside the folders: the steps of logic, and where an exchange may be named."""

from __future__ import annotations

import ast

import pytest
from house import ROOT, imported_names, offenders, parsed, sources_of, text_of

from core.instrument import ExchangeName

STEPS = (
    # Helpers that know nothing of the rest of logic, nor of each other.
    ("clocks", "exchange_opening", "failures", "opening", "series_locks", "series_session", "state_files", "stored"),
    ("monitored",),  # what is streamed, beside what is stored
    ("fetching",),
    ("planning",),
    ("witness",),
    ("verify",),
    ("gaps",),
    ("backfill",),
    ("live",),
    ("documents",),  # what all the others found, as JSON
)
"""logic from the bottom up: folders and the modules beside them. One imports from itself and from lower steps."""
FETCHER_FOR_LOGIC = {"fetcher.source", "fetcher.exchanges", "fetcher.addresses", "fetcher.at_once"}
"""The seam, how it is opened, and how two of its methods are called at the same time."""
LISTS_OF_EXCHANGES = {"core/exchanges.py", "fetcher/exchanges.py"}


def step_of(part: str) -> int:
    return next(number for number, parts in enumerate(STEPS) if part in parts)


def part_of(module: str) -> str:
    """Return `gaps` for `logic.gaps.rechecks`, `clocks` for `logic.clocks`."""
    return module.split(".")[1]


def upward_imports(part: str, source: str) -> list[str]:
    """Return what a source text in `logic/<part>` imports from its own step or above."""
    others = [name for name in imported_names(parsed(source)) if name.startswith("logic.") and part_of(name) != part]
    return [name for name in others if step_of(part_of(name)) >= step_of(part)]


def exchange_specifics(place: str, source: str) -> list[str]:
    """Return what a source text imports of one exchange's own folders, where it has to serve any exchange."""
    if place in LISTS_OF_EXCHANGES:
        return []
    own = next((name for name in ExchangeName if place.startswith((f"core/{name}/", f"fetcher/{name}/"))), None)
    others = tuple(f"{folder}.{name}" for folder in ("core", "fetcher") for name in ExchangeName if name is not own)
    return [name for name in imported_names(parsed(source)) if name.startswith(others)]


def wrong_in_logic(source: str) -> list[str]:
    """Return what logic must not know: more of the fetcher than the seam, cursors, the name of an exchange."""
    tree = parsed(source)
    names = [name for name in imported_names(tree) if name.startswith("fetcher")]
    wrong = [f"imports {name}" for name in names if not any(name.startswith(one) for one in FETCHER_FOR_LOGIC)]
    for exchange in ExchangeName:
        if exchange in source.lower().replace(f"docs/{exchange}.md", ""):
            wrong.append(f"names {exchange}")
    return wrong + database_details(tree)


def database_details(tree: ast.AST) -> list[str]:
    """Return uses of the driver or of a cursor, which only db/ may have."""
    wrong = [f"imports {name}" for name in imported_names(tree) if name.split(".")[0] == "psycopg2"]
    wrong += ["uses .cursor" for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "cursor"]
    return wrong


def test_logic_imports_downwards_only() -> None:
    def upwards(place: str) -> list[str]:
        return upward_imports(part_of(place.removesuffix(".py").replace("/", ".")), text_of(place))

    assert offenders(set(sources_of("logic")) - {"logic/__init__.py"}, upwards) == {}


def test_every_part_of_logic_has_its_step() -> None:
    parts = {path.stem for path in (ROOT / "logic").iterdir() if path.suffix == ".py" and path.stem != "__init__"}
    parts |= {path.parent.name for path in (ROOT / "logic").glob("*/__init__.py")}
    assert parts == {part for step in STEPS for part in step}


def test_modules_of_one_folder_import_each_other_without_a_cycle() -> None:
    imports = {}
    for place in sources_of("logic"):
        module = place.removesuffix(".py").replace("/", ".")
        names = imported_names(parsed(text_of(place)))
        imports[module] = {name for name in names if name.startswith("logic.")}
    assert len(imports) > 20
    assert cycle_in(imports) == []


def cycle_in(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules that are left when those that import none of the others are taken away, again and again."""
    left = dict(imports)
    while free := [module for module, needed in left.items() if not needed & left.keys()]:
        for module in free:
            del left[module]
    return sorted(left)


def test_an_exchange_s_own_facts_are_imported_by_the_lists_of_exchanges_alone() -> None:
    places = sources_of("core", "fetcher", "db", "logic", "config", "commands")
    assert offenders(places, lambda place: exchange_specifics(place, text_of(place))) == {}


def test_logic_knows_no_exchange_no_driver_and_of_the_fetcher_the_seam_alone() -> None:
    assert offenders(sources_of("logic"), lambda place: wrong_in_logic(text_of(place))) == {}


def test_commands_have_no_cursor() -> None:
    assert offenders(sources_of("commands"), lambda place: database_details(parsed(text_of(place)))) == {}


@pytest.mark.parametrize(
    ("part", "source", "wrong"),
    [
        ("fetching", "from logic.planning.listing import wanted_span", ["logic.planning.listing"]),
        ("fetching", "def f():\n    import logic.backfill.run", ["logic.backfill.run"]),
        ("planning", "from logic.verify import verifier", ["logic.verify.verifier"]),
        ("verify", "from logic.gaps.checker import SeriesCheck", ["logic.gaps.checker"]),
        ("gaps", "from logic.backfill.results import RunSummary", ["logic.backfill.results"]),
        ("clocks", "from logic.failures import Failures", ["logic.failures"]),
        ("stored", "from logic.documents import x", ["logic.documents"]),
        ("planning", "from logic.fetching.edges import WantedEdges\nfrom logic.planning.listing import x", []),
    ],
)
def test_a_step_upwards_is_seen(part: str, source: str, wrong: list[str]) -> None:
    found = upward_imports(part, source)
    assert [name for name in found if name in wrong] == wrong
    assert bool(found) == bool(wrong)


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("core/plan.py", "from core.binance.rules import page_rows"),
        ("core/plan.py", "from core import binance"),
        ("fetcher/http.py", "import fetcher.binance.rest"),
        ("logic/clocks.py", "from fetcher.binance.exchange import BinanceExchange"),
    ],
)
def test_an_exchange_where_none_may_be_is_seen(place: str, source: str) -> None:
    assert exchange_specifics(place, source)


def test_the_lists_of_exchanges_and_the_exchange_itself_may_name_it() -> None:
    source = "from core.binance.rules import page_rows"
    assert exchange_specifics("core/exchanges.py", source) == []
    assert exchange_specifics("fetcher/binance/rest.py", source) == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from fetcher.http import Sleep", "imports fetcher.http"),
        ("from fetcher import http", "imports fetcher.http"),
        ("import psycopg2.extras", "imports psycopg2.extras"),
        ("tx.cursor.execute('select 1')", "uses .cursor"),
        ('"""Asks Binance."""', "names binance"),
    ],
)
def test_what_logic_must_not_know_is_seen(source: str, wrong: str) -> None:
    assert wrong in wrong_in_logic(source)


def test_a_source_of_a_fact_may_be_named_in_logic() -> None:
    assert wrong_in_logic("# docs/binance.md, Archives\nfrom fetcher.source import ExchangeSource") == []


def test_a_cycle_is_seen() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]
    assert cycle_in({"a": {"b"}, "b": set()}) == []
