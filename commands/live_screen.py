"""What a person sees while `stream` runs: a table that is refreshed on a terminal, and nothing of it elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from commands.context import CommandContext
from commands.options import OutputOptions
from commands.screen import Column, Row, Tone, count_text, print_line, rows_table
from core.stream_activity import StreamState
from core.streams import StreamKey
from core.times import format_ms
from logic.live.service import LiveService
from logic.live.stream_states import StreamRecord

_COLUMNS = (
    Column("stream"),
    Column("state"),
    Column("newest candle"),
    Column("its close", is_number=True),
    Column("cuts", is_number=True, rank=1, is_dull_when_zero=True),
    Column("frames unusable", is_number=True, rank=2, is_dull_when_zero=True),
)
_OTHER_LINES = 8  # of the screen: headline, head of the table, what stands above it


class LiveScreen:
    """Shows what a service does, to be told of it every second. `console`: a terminal, or None.

    Without a terminal `plain` gets a line every `every_s` seconds; with neither it shows nothing.
    """

    def __init__(self, console: Console | None, plain: Console | None, every_s: float) -> None:
        self._live = None if console is None else Live(console=console, auto_refresh=False, transient=True)
        self._plain, self._every_s = plain, every_s
        self._next_s = 0.0

    def __enter__(self) -> LiveScreen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, service: LiveService, now_ms: int) -> None:
        """Show the state of now; `now_ms` is this machine's date."""
        if self._live is not None:
            size, known = self._live.console.size, service.sink.states.all()
            records = {key: known.get(key, StreamRecord()) for key in service.keys}
            table = live_table(_headline(service, now_ms), records, size.width, size.height - _OTHER_LINES)
            self._live.update(table, refresh=True)
        elif self._plain is not None and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._every_s
            print_line(self._plain, _headline(service, now_ms))
            self._plain.file.flush()


def live_screen(context: CommandContext, output: OutputOptions, lines_every_s: float | None) -> LiveScreen:
    """Return the screen of a run: a table on stderr where that is a terminal; nothing with --json or --quiet.

    `lines_every_s`: elsewhere, a plain line on stdout so often; None: none.
    """
    if output.json or output.is_quiet:
        return LiveScreen(None, None, 0)
    terminal = context.stderr if context.stderr.is_terminal else None
    return LiveScreen(terminal, None if lines_every_s is None else context.stdout, lines_every_s or 0)


def _headline(service: LiveService, now_ms: int) -> str:
    done, waiting, healing = service.counters, len(service.waiting), service.healer.waiting
    told = [
        f"{service.sink.live} of {service.streamed} series live",
        f"{count_text(done.stored, 'candle')} stored",
        f"{done.healed:,} healed",
    ]
    told += [f"{count_text(sum(done.reconnects.values()), 'cut')}"] if done.reconnects else []
    told += [f"{waiting:,} wait for the database"] if waiting else []
    told += [f"{healing:,} to heal"] if healing else []
    return f"{time.strftime('%H:%M:%S', time.gmtime(now_ms / 1000))} {', '.join(told)}"


def live_table(headline: str, records: Mapping[StreamKey, StreamRecord], width: int, most_rows: int) -> Group:
    """Return the headline and a row a stream, what does not deliver first; as many rows as fit."""
    ordered = sorted(records.items(), key=lambda one: one[1].state is StreamState.LIVE)
    shown = ordered[: max(most_rows, 1)]
    parts: list[RenderableType] = [Text(headline)]
    parts.append(rows_table(_COLUMNS, [_row(key, record) for key, record in shown], width))
    if len(shown) < len(ordered):
        parts.append(Text(f"... and {len(ordered) - len(shown):,} streams more; monitor shows them all"))
    return Group(*parts)


def _row(key: StreamKey, record: StreamRecord) -> Row:
    newest = "-" if record.closed_ms is None else format_ms(record.closed_ms)
    cells = [str(key), record.state.value, newest, record.price or "-", str(record.cuts), str(record.errors)]
    return Row(cells, Tone.GOOD if record.state is StreamState.LIVE else Tone.ATTENTION)
