"""`demo`: the same backfill, offline, against a local replay exchange, into a database of its own."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from commands import backfill, check, status, stream
from commands.command import Command
from commands.connections import reading
from commands.context import CommandContext
from commands.options import OutputOptions, add_output_options, read_duration, read_output
from commands.screen import Column, Row, Tone, print_line, print_rows
from commands.wanted import WantedRequest
from config.settings import Settings
from core.errors import ConfigurationError
from core.exit_codes import EXIT_OK
from core.ranges import TimeRange
from core.series import Series, parse_series
from core.times import format_ms
from core.wanted import Wanted, WantedSeries
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import DEFAULT_SPAN, generate_market
from demo.live_market import LIVE_SERIES, cut_streams, live_market
from demo.market_facts import market_facts
from demo.recordings import load_recordings, longest_stretch
from demo.server import ReplayExchange
from demo.weights import WeightLimits
from logic.opening import fresh_embedded_database
from logic.stored import newest_candles

_SEED = 7
_LIVE_S = 60.0
_LINES_EVERY_S = 5.0
_GENERATED_SERIES = ("BTCUSDT", "ETHUSDT", "BCCUSDT", "BTCUSDT/1h", "BTCUSDT/1M", "um:BTCUSDT/5m", "cm:BTCUSD_PERP/1h")
_MOMENT_MS = 10_000  # the last candle has just closed, and none closes while the demo runs
_DAY_AFTER_MS = 2 * 86_400_000  # recorded days are served as published archives


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """What the replay exchange serves."""

    recordings: Path | None = None  # a folder of recorded archives; None: a generated market
    live_s: float | None = None  # seconds of live streams instead; None: a backfill
    output: OutputOptions = field(default_factory=OutputOptions)

    def log_dir(self, settings: Settings) -> Path | None:
        """Return the folder of the log file, apart from that of real runs."""
        return settings.log_dir / "demo"


@dataclass(frozen=True, slots=True)
class _Market:
    """What is served, and what of it is fetched."""

    store: CandleStore
    now_ms: int  # of the replay exchange's clock, which stands still
    wanted: Sequence[WantedSeries]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--recordings", metavar="DIR", help="serve recorded archives instead of a generated market")
    shown.add_argument("--live", action="store_true", help="live streams, with a cut in their middle")
    parser.add_argument("--for", dest="duration", metavar="T", help="how long with --live: 30s, 5m; else a minute")
    add_output_options(parser)


def read_request(arguments: argparse.Namespace, settings: Settings) -> DemoRequest:
    """Return the checked request. Raises ConfigurationError."""
    recordings = None if arguments.recordings is None else Path(arguments.recordings)
    if recordings is not None and not recordings.is_dir():
        raise ConfigurationError(f"--recordings: {recordings} is not a folder")
    seconds = read_duration(arguments.duration)
    if seconds is not None and not arguments.live:
        raise ConfigurationError("--for: only with --live")
    live_s = (seconds or _LIVE_S) if arguments.live else None
    return DemoRequest(recordings, live_s, read_output(arguments))


def run(request: DemoRequest, context: CommandContext) -> int:
    """Run the demo and return its exit code. Never touches the configured database."""
    if request.live_s is not None:
        return _run_live(request, context, request.live_s)
    market = _generated() if request.recordings is None else _recorded(request.recordings)
    if request.recordings is None:
        _say(request, context, f"DEMO with a generated market (seed {_SEED}): these are NOT real Binance prices")
        _describe_market(request, context)
    else:
        where = request.recordings
        _say(request, context, f"DEMO with recorded archives from {where}, served by a local replay exchange")
    with _served(market) as exchange:
        settings = _demo_settings(context.settings, exchange)
        _write_symbols(settings.symbols_file, market.wanted)
        _say(request, context, f"replay exchange at {exchange.url}, its clock at {format_ms(market.now_ms)}")
        _say(request, context, f"what is asked for stands in {settings.symbols_file}\n")
        with fresh_embedded_database(settings.embedded_pg_dir):
            exit_code = _run_twice(request, dataclasses.replace(context, settings=settings), market, exchange)
    _say(request, context, f"\nThe demo's database stays in {settings.embedded_pg_dir}; delete the folder at will.")
    return exit_code


def _run_live(request: DemoRequest, context: CommandContext, seconds: float) -> int:
    """Stream for so long, with a cut in the middle, then check; return the exit code."""
    _say(request, context, "DEMO of live streams with a generated market: these are NOT real Binance prices")
    with live_market(context.now_ms(), seconds, _SEED) as exchange:
        settings = _demo_settings(context.settings, exchange)
        streams = dataclasses.replace(settings.streams, urls=exchange.stream_urls)
        live = dataclasses.replace(context, settings=dataclasses.replace(settings, streams=streams))
        _say(request, context, f"replay exchange at {exchange.url}; its clock is this machine's")
        with fresh_embedded_database(settings.embedded_pg_dir), _cut_after(seconds / 2, exchange, request, context):
            wanted = WantedRequest(Wanted(tuple(map(WantedSeries, LIVE_SERIES))), TimeRange(), is_whole_list=True)
            every_s = min(_LINES_EVERY_S, seconds / 4)
            streaming = stream.StreamRequest(wanted, seconds=seconds, output=request.output, lines_every_s=every_s)
            exit_code = stream.run(streaming, live)
            if exit_code == EXIT_OK and not request.output.json:
                exit_code = check.run(check.CheckRequest(output=request.output), live)
    _say(request, context, f"\nThe demo's database stays in {settings.embedded_pg_dir}; delete the folder at will.")
    return exit_code


@contextmanager
def _cut_after(
    seconds: float, exchange: ReplayExchange, request: DemoRequest, context: CommandContext
) -> Iterator[None]:
    """While the context lasts, cut all connections once, after so long."""

    def cut() -> None:
        cut_streams(exchange)
        if not (request.output.json or request.output.is_quiet):
            console = context.stderr if context.stderr.is_terminal else context.stdout  # above the table, where one is
            print_line(console, "the exchange cuts all connections and refuses new ones for a while", Tone.ATTENTION)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _run_twice(request: DemoRequest, context: CommandContext, market: _Market, exchange: ReplayExchange) -> int:
    """Fetch everything and show it; then again, when there is nothing new. With --json and --quiet only once."""
    fetch = backfill.BackfillRequest(
        WantedRequest(Wanted(tuple(market.wanted)), TimeRange(), is_whole_list=True), output=request.output
    )
    exit_code = backfill.run(fetch, context)
    if request.output.json or request.output.is_quiet or exit_code != EXIT_OK:
        return exit_code
    status.run(status.StatusRequest(output=request.output), context)
    check.run(check.CheckRequest(output=request.output), context)
    _show_newest(context, market.wanted[0].series)
    requests = len(exchange.requests)
    _say(request, context, f"\nThe replay exchange answered {requests:,} requests. Now the same again:\n")
    exchange.clear_requests()
    exit_code = backfill.run(fetch, context)
    ranges = sum("startTime" in asked.params for asked in exchange.requests)
    _say(request, context, f"\n{len(exchange.requests)} requests this time, {ranges} of them for a range of candles.")
    return exit_code


@contextmanager
def _served(market: _Market) -> Iterator[ReplayExchange]:
    # Its clock stands still, so that the second run has nothing new; its minute of weight then never ends.
    clock, limits = ReplayClock(market.now_ms, speed=0.0), WeightLimits(spot=1_000_000, futures=1_000_000)
    with ReplayExchange(market.store, clock, weight_limits=limits) as exchange:
        yield exchange


def _demo_settings(settings: Settings, exchange: ReplayExchange) -> Settings:
    """Return settings that keep the demo apart: its own exchange, database, state and logs."""
    home = settings.embedded_pg_dir
    state_dir = settings.state_dir / "demo"
    shutil.rmtree(state_dir, ignore_errors=True)
    return dataclasses.replace(
        settings,
        database=None,
        embedded_pg_dir=home.with_name(f"{home.name}-demo"),
        state_dir=state_dir,
        symbols_file=state_dir / "symbols.yml",
        log_dir=settings.log_dir / "demo",
        start_ms=None,
        end_ms=None,
        default_interval="1m",
        api_urls=dict.fromkeys(("spot", "um", "cm"), exchange.url),
        archive_url=exchange.archive_url,
        archive_list_url=exchange.archive_list_url,
    )


def _generated() -> _Market:
    store = generate_market(DEFAULT_SPAN.start_ms, DEFAULT_SPAN.end_ms, seed=_SEED)
    wanted = [WantedSeries(parse_series(text)) for text in _GENERATED_SERIES]
    return _Market(store, DEFAULT_SPAN.end_ms + _MOMENT_MS, wanted)


def _recorded(folder: Path) -> _Market:
    store = load_recordings(folder)
    series = sorted(store.series(), key=str)
    if not series:
        raise ConfigurationError(f"--recordings: no recorded kline archives (SYMBOL-1m-2023-01-31.zip) in {folder}")
    spans = {one: longest_stretch(store, one) for one in series}
    newest_ms = max(span.end_ms for span in spans.values())
    wanted = [WantedSeries(one, spans[one].start_ms, spans[one].end_ms) for one in series]
    return _Market(store, newest_ms + _DAY_AFTER_MS, wanted)


def _write_symbols(path: Path, wanted: Sequence[WantedSeries]) -> None:
    """Write down what is fetched, as the symbols.yml that would fetch the same."""
    path.parent.mkdir(parents=True)
    entries = []
    for one in wanted:
        entry = {"symbol": one.series.symbol, "market": one.series.market.value, "interval": one.series.interval.code}
        times = {"start": one.start_ms, "end": one.end_ms}
        entries.append(entry | {name: format_ms(ms) for name, ms in times.items() if ms is not None})
    path.write_text(yaml.safe_dump({"symbols": entries}, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _show_newest(context: CommandContext, series: Series) -> None:
    with reading(context) as database:
        if database is None:
            return
        names, candles = newest_candles(database, series, 5)
    print_line(context.stdout, f"select * from {series.table_name} order by time desc limit 5")
    # On a narrow screen time, open and close stay.
    columns = [
        Column(name, is_number=place > 0, rank=0 if name in ("time", "open", "close") else place)
        for place, name in enumerate(names)
    ]
    print_rows(context.stdout, columns, [Row(candle) for candle in candles])


def _describe_market(request: DemoRequest, context: CommandContext) -> None:
    facts = market_facts(DEFAULT_SPAN.start_ms, DEFAULT_SPAN.end_ms)
    for halt in facts.spot_halts:
        _say(request, context, f"  spot is halted {halt}: no candles exist then")
    _say(request, context, f"  spot candles of {facts.off_grid} open 14.789 s off the minute")
    for symbol in facts.symbols:
        ended = f", no longer traded since {format_ms(symbol.end_ms)}" if symbol.is_delisted else ""
        _say(request, context, f"  {symbol.market}:{symbol.symbol} is listed at {format_ms(symbol.listing_ms)}{ended}")


def _say(request: DemoRequest, context: CommandContext, text: str) -> None:
    if not (request.output.json or request.output.is_quiet):
        print_line(context.stdout, text)
        context.stdout.file.flush()


COMMAND = Command(add_options, read_request, run)
