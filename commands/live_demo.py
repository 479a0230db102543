"""`demo --live`: a stream with a cut in its middle, offline, against the replay exchange by the real time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from commands import check, stream
from commands.context import CommandContext
from commands.options import OutputOptions
from commands.screen import Tone, print_line
from commands.wanted import WantedRequest
from core.exit_codes import EXIT_OK, worst
from core.ranges import Span, TimeRange
from core.series import parse_series
from core.times import MS_PER_MINUTE
from core.wanted import Wanted, WantedSeries
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.stream_faults import RefuseHandshake

SERIES = [parse_series(text) for text in ("BTCUSDT/1s", "ETHUSDT/1s", "um:BTCUSDT/1m", "cm:BTCUSD_PERP/1m")]

_SEED = 7
_PAST_MS, _AFTER_MS = 30 * MS_PER_MINUTE, 10 * MS_PER_MINUTE
_LINES_EVERY_S = 5.0
_REFUSED_TIMES = 4  # so that a cut lasts some seconds, in which candles close


@contextmanager
def served(now_ms: int, seconds: float) -> Iterator[ReplayExchange]:
    """Serve a market whose clock runs as the real one, from `now_ms` (epoch ms) on."""
    store = CandleStore()
    begins_ms = (now_ms - _PAST_MS) // MS_PER_MINUTE * MS_PER_MINUTE
    for series in SERIES:
        span = Span(begins_ms, now_ms + int(seconds * 1000) + _AFTER_MS)
        store.add(series, generate_series(series, span, _SEED))
    with ReplayExchange(store, ReplayClock(now_ms)) as exchange:
        yield exchange


def run(context: CommandContext, exchange: ReplayExchange, seconds: float, output: OutputOptions) -> int:
    """Stream for so long, with a cut in the middle, then check; return the worse of both exit codes."""
    wanted = Wanted(tuple(WantedSeries(series) for series in SERIES))
    request = stream.StreamRequest(
        WantedRequest(wanted, TimeRange(), is_whole_list=True),
        seconds=seconds,
        output=output,
        lines_every_s=min(_LINES_EVERY_S, seconds / 4),
    )
    cut = threading.Timer(seconds / 2, _cut, [context, exchange, output])
    cut.daemon = True
    cut.start()
    try:
        exit_code = stream.run(request, context)
    finally:
        cut.cancel()
    if output.json or exit_code != EXIT_OK:
        return exit_code
    return worst([exit_code, check.run(check.CheckRequest(output=output), context)])


def _cut(context: CommandContext, exchange: ReplayExchange, output: OutputOptions) -> None:
    exchange.streams.faults.add(RefuseHandshake(503), times=_REFUSED_TIMES)
    exchange.streams.abort()
    if not (output.json or output.is_quiet):
        console = context.stderr if context.stderr.is_terminal else context.stdout
        print_line(console, "the exchange cuts all connections and refuses new ones for a while", Tone.ATTENTION)
