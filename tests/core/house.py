"""Reads the project's source files for the tests about its structure."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def sources_of(*folders: str) -> list[str]:
    """Return the Python files of folders, as paths from the project's root."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def text_of(place: str) -> str:
    """Return the text of the file at `place`, a path from the project's root."""
    return (ROOT / place).read_text(encoding="utf-8")


def offenders(places: Iterable[str], wrong_in: Callable[[str], list[str]]) -> dict[str, list[str]]:
    """Return what `wrong_in` finds at each place, without the places where it finds nothing.

    One test looks at all files and names all that are wrong: a test a file costs more than the look.
    """
    looked_at = sorted(places)
    assert looked_at, "no file to look at: the folder's name has changed"
    return {place: wrong for place in looked_at if (wrong := wrong_in(place))}


@functools.cache
def parsed(source: str) -> ast.Module:
    """Return the tree of a source, parsed once for all tests that look at it."""
    return ast.parse(source)


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Yield what a source imports, at its top or anywhere inside: modules, and of `from a import b` a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
