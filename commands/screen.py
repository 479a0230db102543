"""How results look to people: whether all is well, what needs a person, a row per series, some details.

On a terminal the rows are a table as wide as fits; in a file or a pipe each is a plain line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.options import OutputOptions
from core.provisional import ProvisionalCandles
from core.times import format_ms

_NEEDS_SHOWN = 10
_DETAILS_SHOWN = 10
_GAP = 2  # blanks between columns
_HANGING = 2  # blanks before the second line of a long one


class Tone(StrEnum):
    """What a word means, as the style that shows it."""

    GOOD = "green"
    ATTENTION = "yellow"
    WRONG = "red"
    PLAIN = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Those of the highest `rank` go first where the terminal is too narrow; rank 0 always stays."""

    name: str
    is_number: bool = False
    rank: int = 0
    is_dull_when_zero: bool = False  # left out of a table in which no row has anything but 0 or nothing


@dataclass(frozen=True, slots=True)
class Row:
    """A series in one line."""

    cells: Sequence[str]  # the series, the verdict, then one for each further column
    tone: Tone = Tone.PLAIN  # of the verdict
    needs: Sequence[str] = ()  # what a person should know or do; empty when all is well
    details: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The series."""
        return self.cells[0]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a command."""

    headline: str  # of the whole, when all is well
    columns: Sequence[Column]
    rows: Sequence[Row]
    needs: Sequence[str] = ()  # what no single series says
    notes: Sequence[str] = ()  # what to know at the end
    shows_all_details: bool = False  # they were asked for


def print_json(console: Console, document: object, is_line: bool = False) -> None:
    """Write `document` as the one JSON document, or as one line of many."""
    json.dump(document, console.file, indent=None if is_line else 1)
    console.file.write("\n")
    console.file.flush()


def print_line(console: Console, text: str = "", tone: Tone = Tone.PLAIN, indent: int = 0) -> None:
    """Write a line; on a terminal it is broken at blanks, what follows indented further, elsewhere never."""
    if not console.is_terminal:
        console.file.write(" " * indent + text + "\n")
        return
    for paragraph in text.split("\n"):
        broken = Text(paragraph, style=tone.value).wrap(console, console.width - indent - _HANGING)
        for number, part in enumerate(broken):
            part.rstrip()
            console.print(Text(" " * (indent + _HANGING * (number > 0))) + part, soft_wrap=True)


def print_report(console: Console, report: Report, output: OutputOptions) -> None:
    """Write the headline, what needs a person, the rows and their details; with --quiet only what needs a person."""
    needy = [row for row in report.rows if row.needs]
    if output.is_quiet and not needy and not report.needs:
        return
    limit = None if output.is_verbose or output.is_quiet else _NEEDS_SHOWN
    _print_headline(console, report, needy, limit)
    rows = needy if output.is_quiet else report.rows
    print_rows(console, report.columns, rows)
    details = [f"{row.name}: {text}" for row in rows for text in row.details]
    shown = details if output.is_verbose or report.shows_all_details else details[:_DETAILS_SHOWN]
    for text in shown:
        print_line(console, text)
    if len(shown) < len(details):
        print_line(console, f"... and {len(details) - len(shown):,} lines more, --verbose shows them")
    if not output.is_quiet or needy:
        for text in report.notes:
            print_line(console, text)


def _print_headline(console: Console, report: Report, needy: Sequence[Row], limit: int | None) -> None:
    if not needy and not report.needs:
        print_line(console, f"ok: {report.headline}", Tone.GOOD)
        return
    if needy:
        worst = Tone.WRONG if any(row.tone is Tone.WRONG for row in needy) else Tone.ATTENTION
        verb = "needs" if len(needy) == 1 else "need"
        print_line(console, f"{len(needy):,} of {len(report.rows):,} series {verb} you:", worst)
    for text in report.needs:
        print_line(console, text, Tone.WRONG, indent=2)
    for row in needy[:limit]:
        for text in row.needs:
            print_line(console, f"{row.name}: {text}", indent=2)
    if limit is not None and len(needy) > limit:
        print_line(console, f"... and {len(needy) - limit:,} more series, --verbose shows them", indent=2)


def print_rows(console: Console, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Write the rows: as a table on a terminal, as plain lines elsewhere."""
    if not rows:
        return
    if not console.is_terminal:
        for row in rows:
            facts = zip(columns[2:], row.cells[2:], strict=True)
            told = [row.cells[1], *(f"{column.name} {cell}" for column, cell in facts if cell not in ("", "-"))]
            print_line(console, f"{row.name}: {', '.join(told)}")
        return
    console.print()
    console.print(rows_table(columns, rows, console.width))
    console.print()


def rows_table(columns: Sequence[Column], rows: Sequence[Row], width: int) -> Table:
    """Return the rows as a table for a terminal of `width`."""
    shown = _fitting(columns, rows, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP, 0, 0), show_edge=False)
    for place in shown:
        table.add_column(columns[place].name, justify="right" if columns[place].is_number else "left", overflow="fold")
    for row in rows:
        cells = [Text(row.cells[place], style=row.tone.value if place == 1 else "") for place in shown]
        table.add_row(*cells)
    return table


def _fitting(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[int]:
    """Return the places of the columns to show, such that they fit into `width`."""
    shown = [
        place
        for place, column in enumerate(columns)
        if not (column.is_dull_when_zero and all(row.cells[place] in ("", "-", "0") for row in rows))
    ]
    widths = {
        place: max(
            *(cell_len(row.cells[place]) for row in rows), *(cell_len(word) for word in columns[place].name.split())
        )
        for place in shown
    }
    while sum(widths[place] + _GAP + 1 for place in shown) > width:
        last = max(shown, key=lambda place: (columns[place].rank, place))
        if columns[last].rank == 0:
            break
        shown.remove(last)
    return shown


def time_text(ms: int | None) -> str:
    """Return a time for a table, to the minute, or a dash."""
    return "-" if ms is None else format_ms(ms)


def share_text(part: int, whole: int) -> str:
    """Return `part` of `whole` in percent, rounded down: 100 % is all of it."""
    return "-" if not whole else f"{min(part, whole) * 100 // whole} %"


def count_text(count: int, one: str, many: str | None = None) -> str:
    """Return `1 candle`, `2,000 candles`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def unaudited_text(provisional: ProvisionalCandles) -> str:
    """Return how many streamed candles wait for their audit, since when, and what would audit them."""
    candles = count_text(provisional.candles, "streamed candle")
    return (
        f"{candles} not audited yet, the oldest closed {time_text(provisional.since_ms)}; a running stream holds them "
        "against REST every hour, verify --against rest does it now"
    )
