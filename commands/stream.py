"""`stream`: backfill to now, then store closed candles the moment they close, until it is told to end."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from commands.command import Command
from commands.connections import writing
from commands.context import CommandContext
from commands.control import ControlRequest, control_stream
from commands.exchange_access import asking, backfill_options
from commands.live_list import Listed, LiveList, LiveListFollower, following, left_out_text
from commands.live_screen import live_screen
from commands.live_tools import live_tools
from commands.options import OutputOptions, add_output_options, read_duration, read_kinds, read_output
from commands.progress import progress_bar
from commands.screen import Tone, count_text, print_json, print_line
from commands.wanted import WantedRequest, read_wanted
from config.settings import Settings
from core.errors import ConfigurationError, DatabaseUnavailable, Interrupted
from core.instrument import Market
from core.stream_kinds import StreamKind
from logic.backfill.ohlcv_handler import run_ohlcv_backfill
from logic.backfill.results import RunSummary
from logic.documents import live_document
from logic.live.preparing import History
from logic.live.results import LiveSummary, is_left_to_heal, summarize
from logic.live.service import LiveService
from logic.live.tools import LiveOptions
from logic.opening import prepare_market_tables

_log = logging.getLogger(__name__)

_DRAIN_S = 7.0  # a signal ends the process after nine seconds, whatever it does
_DRAIN_AT_LEISURE_S = 60.0
_STEP_S = 1.0
_SAID_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What to stream, and for how long."""

    wanted: WantedRequest
    history: History = field(default_factory=History)
    kinds: tuple[StreamKind, ...] | None = None  # None: what symbols.yml and the settings say
    depth: int | None = None  # levels of an order book; None: what the settings say
    seconds: float | None = None  # None: until it is told to end
    control: ControlRequest | None = None  # not to stream, but to tell one that does
    read_again: Callable[[], WantedRequest] | None = field(default=None, compare=False)  # None: the list is fixed
    output: OutputOptions = field(default_factory=OutputOptions)
    lines_every_s: float | None = None  # a line so often where there is no terminal to show a table

    def log_dir(self, settings: Settings) -> Path | None:
        """Return the folder of the log file, apart from that of cron's runs; None where nothing is streamed."""
        if self.control is not None:
            return None
        return settings.log_dir / "market_data"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    series = "series instead of symbols.yml: BTCUSDT, BTCUSDT/1h, um:BTCUSDT/5m, '*USDT/1d'"
    parser.add_argument("--symbols", nargs="+", metavar="S", help=series)
    parser.add_argument("--interval", metavar="I", help="interval of series that do not say theirs")
    parser.add_argument("--types", metavar="T,T", help=f"what to stream: {', '.join(StreamKind)}")
    parser.add_argument("--depth", type=int, metavar="N", help="levels of an order book a side: 5, 10, 20")
    history = parser.add_mutually_exclusive_group()
    history.add_argument("--no-backfill", action="store_true", help="nothing older than the end of what is stored")
    history.add_argument("--days", type=int, metavar="N", help="so many days of history instead of the list's")
    parser.add_argument("--control", choices=["reconnect"], help="tell the stream that runs to make new connections")
    parser.add_argument("--market", choices=[one.value for one in Market], help="with --control: of this market only")
    parser.add_argument("--for", dest="duration", metavar="T", help="end after 90s, 55m, 12h or 7d")
    add_output_options(parser)


def read_request(arguments: argparse.Namespace, settings: Settings) -> StreamRequest:
    """Return the checked request; reads symbols.yml. Raises ConfigurationError."""
    if arguments.control is not None:
        market = None if arguments.market is None else Market(arguments.market)
        return StreamRequest(WantedRequest(None), control=ControlRequest(market), output=read_output(arguments))
    if arguments.market is not None:
        raise ConfigurationError("--market is for --control; symbols of a market are written um:BTCUSDT")
    if arguments.days is not None and arguments.days < 1:
        raise ConfigurationError("--days: expected a whole number above 0")
    arguments.start = arguments.end = None
    wanted = read_wanted(arguments, settings)
    history = History(is_wanted=not arguments.no_backfill, days=arguments.days)
    return StreamRequest(
        wanted,
        history,
        read_kinds(arguments.types),
        arguments.depth,
        read_duration(arguments.duration),
        output=read_output(arguments),
        read_again=None if arguments.symbols else partial(read_wanted, arguments, settings),
    )


def run(request: StreamRequest, context: CommandContext) -> int:
    """Stream until told to end; return the exit code: 0 also after Ctrl-C and SIGTERM, when all is stored."""
    if request.control is not None:
        return control_stream(request.control, request.output, context)
    # Connections only for the start: what runs for months opens its own, and opens them again.
    with ExitStack() as lasting:
        with ExitStack() as start:
            database = start.enter_context(writing(context))
            exchange = start.enter_context(asking(context))
            how = LiveList(context, request.kinds, request.history, request.depth)
            series = how.read(request.wanted, database, exchange)
            listed = how.plan(series, request.wanted.is_whole_list, database, exchange)
            plan, records = listed.plan, listed.records
            backfill = backfill_options(context, database, heal_gaps=False)
            if records.keys:
                prepare_market_tables(database, backfill.timescale, backfill.compress_after_days)
            options = LiveOptions(context.run_id, backfill, context.settings.streams.audit_ms, records)
            first = plan.series[0].wanted.series.market if plan.series else records.keys[0].market
            service = LiveService(plan.series, live_tools(context, exchange, first), options)
            live = _LiveRun(request, context, listed, service)
            live.begin()
            lasting.enter_context(live.following())
            if not plan.wanted:
                return live.wait_and_end()
            try:
                with progress_bar(context, request.output, exchange.weight_used) as bar:
                    live.backfilled(run_ohlcv_backfill(database, exchange, plan.wanted, backfill, bar, context.now_ms))
            except Interrupted:
                live.is_backfill_interrupted = True
                return live.end(_DRAIN_S)
            except DatabaseUnavailable as error:
                _log.error("the backfill ended early and is made up for when the database is back: %s", error)
                service.heal([one.series for one in plan.wanted])
        return live.wait_and_end()


class _LiveRun:
    """One run of the command, from its first word to its last."""

    def __init__(self, request: StreamRequest, context: CommandContext, listed: Listed, service: LiveService) -> None:
        self._request, self._context, self._listed, self._service = request, context, listed, service
        self._began = time.monotonic()
        self._backfill: RunSummary | None = None
        self.is_backfill_interrupted = False
        self._follower: LiveListFollower | None = None
        if request.read_again is not None:
            how = LiveList(context, request.kinds, request.history, request.depth)
            self._follower = LiveListFollower(how, request.read_again, listed, service)

    @property
    def _now_listed(self) -> Listed:
        """The list as it was read last."""
        return self._listed if self._follower is None else self._follower.listed

    def following(self) -> AbstractContextManager[None]:
        """Follow the list during the context."""
        return following(self._follower)

    def begin(self) -> None:
        """Start the service and say what is streamed."""
        streamed = count_text(len(self._listed.plan.series), "series", "series")
        if others := len(self._service.records.keys):
            streamed += f" and {count_text(others, 'stream')} of other kinds"
        self._say(f"streaming {streamed}; Ctrl-C ends it when all that was received is stored")
        if left_out := left_out_text(self._listed.plan.left_out, self._service.records.left_out):
            self._say(f"not streamed: {left_out}", Tone.ATTENTION)
        self._service.start()

    def backfilled(self, summary: RunSummary) -> None:
        """Take the result of the backfill; what it could not finish or ask for yet is healed."""
        self._backfill = summary
        self._service.heal([result.series for result in summary.results if is_left_to_heal(result) or result.is_broken])

    def wait_and_end(self) -> int:
        """Wait until the time is over or a signal comes; return the exit code."""
        if self._listed.plan.series:
            self._say(f"backfill done; {self._service.sink.live} of {len(self._listed.plan.series)} series are live")
        ends_s = None if self._request.seconds is None else self._began + self._request.seconds
        said_s = time.monotonic()
        screen = live_screen(self._context, self._request.output, self._request.lines_every_s)
        try:
            with screen:
                while (ends_s is None or time.monotonic() < ends_s) and not self._service.has_failed:
                    screen.show(self._service, self._context.now_ms())
                    left_s = _STEP_S if ends_s is None else ends_s - time.monotonic()
                    self._context.interruption.sleep(min(_STEP_S, left_s))
                    if time.monotonic() >= said_s + _SAID_EVERY_S:
                        said_s += _SAID_EVERY_S
                        self._say_state()
        except Interrupted:
            return self.end(_DRAIN_S)
        return self.end(_DRAIN_AT_LEISURE_S, is_in_time=True)

    def end(self, longest_s: float, is_in_time: bool = False) -> int:
        """Store what was received, say what was done; return the exit code.

        In time, what is not healed or audited yet is done before; after a signal it is left to the next run.
        """
        self._service.stop(longest_s)
        if is_in_time:
            self._service.finish()
        summary = self._summary()
        if self._request.output.json:
            print_json(self._context.stdout, live_document(summary))
        else:
            self._print(summary)
        return summary.exit_code

    def _summary(self) -> LiveSummary:
        seconds = time.monotonic() - self._began
        left_out, interrupted = self._now_listed.plan.left_out, self.is_backfill_interrupted
        return summarize(self._service, self._context.run_id, seconds, left_out, self._backfill, interrupted)

    def _say_state(self) -> None:
        if self._request.output.json:
            print_json(self._context.stdout, live_document(self._summary()), is_line=True)

    def _print(self, summary: LiveSummary) -> None:
        done = summary.counters
        told = (
            f"{count_text(done.stored, 'closed candle')} stored live, {done.healed:,} healed, "
            f"{done.audited:,} audited, {done.corrected:,} corrected"
        )
        if summary.records.wanted:
            told += f"; {done.records_stored.total():,} trades and prices stored, {done.trades_healed:,} healed"
        told += f"; exit code {summary.exit_code}"
        if not self._request.output.is_quiet:
            print_line(self._context.stdout, told, Tone.PLAIN if summary.exit_code else Tone.GOOD)
        for text in summary.needs:
            print_line(self._context.stdout, text, Tone.ATTENTION)

    def _say(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        if not (self._request.output.json or self._request.output.is_quiet):
            print_line(self._context.stdout, text, tone)


COMMAND = Command(add_options, read_request, run)
