"""Tables for people, on stdout."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 200  # a table in a file or a pipe must not be cut to the 80 columns of no terminal


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> None:
    """Print a table on stdout; the columns in `numbers` are aligned to the right."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH, no_color=True)
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table, markup=False) if not rows else console.print(table)
