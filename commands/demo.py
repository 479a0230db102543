"""`demo`: the same backfill, offline, against a local replay exchange, into a database of its own."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from commands.backfill import run_backfill
from commands.check import run_check
from commands.database import open_database
from commands.status import run_status
from commands.tables import print_table
from config.settings import Settings
from core.errors import ConfigurationError
from core.exit_codes import EXIT_OK
from core.series import Series, parse_series
from core.times import format_ms
from core.wanted import WantedSeries
from db.embedded import DATABASE_NAME, EmbeddedServer
from db.operations import load_newest
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import DEFAULT_SPAN, generate_market
from demo.market_facts import market_facts
from demo.recordings import load_recordings, longest_stretch
from demo.server import ReplayExchange
from demo.weights import WeightLimits

_SEED = 7
_GENERATED_SERIES = ("BTCUSDT", "ETHUSDT", "BCCUSDT", "BTCUSDT/1h", "BTCUSDT/1M", "um:BTCUSDT/5m", "cm:BTCUSD_PERP/1h")
_MOMENT_MS = 10_000  # the last candle has just closed, and none closes while the demo runs
_DAY_AFTER_MS = 2 * 86_400_000  # recorded days are served as published archives


def run_demo(arguments: argparse.Namespace, settings: Settings, run_id: str) -> int:
    """Run the demo and return the backfill's exit code. Never touches the configured database."""
    say = _say_nothing if arguments.json or arguments.quiet else _say
    if arguments.recordings is not None:
        store, now_ms, wanted = _recorded(Path(arguments.recordings))
        say(f"DEMO with recorded archives from {arguments.recordings}, served by a local replay exchange")
    else:
        store = generate_market(DEFAULT_SPAN.start_ms, DEFAULT_SPAN.end_ms, seed=_SEED)
        now_ms, wanted = DEFAULT_SPAN.end_ms + _MOMENT_MS, [WantedSeries(parse_series(t)) for t in _GENERATED_SERIES]
        say(f"DEMO with a generated market (seed {_SEED}): these are NOT real Binance prices")
        _describe_market(say)
    demo_settings = _demo_settings(settings)
    server = EmbeddedServer(demo_settings.embedded_pg_dir)
    _write_symbols(demo_settings.symbols_file, wanted)
    # Its clock stands still, so that the second run has nothing new; its minute of weight then never ends.
    clock, limits = ReplayClock(now_ms, speed=0.0), WeightLimits(spot=1_000_000, futures=1_000_000)
    with ReplayExchange(store, clock, weight_limits=limits) as exchange:
        demo_settings = dataclasses.replace(
            demo_settings,
            api_urls={market: exchange.url for market in ("spot", "um", "cm")},
            archive_url=exchange.archive_url,
            archive_list_url=exchange.archive_list_url,
        )
        say(f"replay exchange at {exchange.url}, its clock at {format_ms(now_ms)}")
        say(f"what is asked for stands in {demo_settings.symbols_file}\n")
        try:
            server.ensure_running()
            server.recreate_database()
            exit_code = run_backfill(_backfill_arguments(arguments), demo_settings, run_id)
            if not (arguments.json or arguments.quiet) and exit_code == EXIT_OK:
                _show(arguments, demo_settings, wanted[0].series, run_id)
                requests = len(exchange.requests)
                say(f"\nThe replay exchange answered {requests:,} requests. Now the same again:\n")
                exchange.clear_requests()
                exit_code = run_backfill(_backfill_arguments(arguments), demo_settings, run_id)
                ranges = sum("startTime" in request.params for request in exchange.requests)
                say(f"\n{len(exchange.requests)} requests this time, {ranges} of them for a range of candles.")
        finally:
            server.stop()
    say(f"\nThe demo's database {DATABASE_NAME} stays in {demo_settings.embedded_pg_dir}; delete the folder at will.")
    return exit_code


def _demo_settings(settings: Settings) -> Settings:
    """Return settings that keep the demo apart: its own database, state and logs, no ranges of the user's."""
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
    )


def _recorded(folder: Path) -> tuple[CandleStore, int, list[WantedSeries]]:
    if not folder.is_dir():
        raise ConfigurationError(f"--recordings: {folder} is not a folder")
    store = load_recordings(folder)
    series = sorted(store.series(), key=str)
    if not series:
        raise ConfigurationError(f"--recordings: no recorded kline archives (SYMBOL-1m-2023-01-31.zip) in {folder}")
    spans = {one: longest_stretch(store, one) for one in series}
    newest_ms = max(span.end_ms for span in spans.values())
    wanted = [WantedSeries(one, spans[one].start_ms, spans[one].end_ms) for one in series]
    return store, newest_ms + _DAY_AFTER_MS, wanted


def _write_symbols(path: Path, wanted: Sequence[WantedSeries]) -> None:
    path.parent.mkdir(parents=True)
    entries = []
    for one in wanted:
        entry = {"symbol": one.series.symbol, "market": one.series.market.value, "interval": one.series.interval.code}
        times = {"start": one.start_ms, "end": one.end_ms}
        entries.append(entry | {name: format_ms(ms) for name, ms in times.items() if ms is not None})
    path.write_text(yaml.safe_dump({"symbols": entries}, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _backfill_arguments(arguments: argparse.Namespace) -> argparse.Namespace:
    plain = {"symbols": None, "interval": None, "start": None, "end": None, "source": "auto"}
    verbosity = {"json": arguments.json, "verbose": arguments.verbose, "quiet": arguments.quiet}
    return argparse.Namespace(**plain, **verbosity, heal_gaps=False, dry_run=False)


def _show(arguments: argparse.Namespace, settings: Settings, series: Series, run_id: str) -> None:
    verbosity = {"json": False, "verbose": arguments.verbose, "quiet": arguments.quiet}
    choice = argparse.Namespace(symbols=None, start=None, end=None, heal=False, **verbosity)
    run_status(choice, settings)
    run_check(choice, settings, run_id)
    database = open_database(settings)
    try:
        with database.transaction("read the newest candles") as tx:
            columns, rows = load_newest(tx, series.table_name, 5)
    finally:
        database.close()
    print_table(f"select * from {series.table_name} order by time desc limit 5", columns, rows, numbers=columns[1:])


def _describe_market(say: Callable[[str], None]) -> None:
    facts = market_facts(DEFAULT_SPAN.start_ms, DEFAULT_SPAN.end_ms)
    for halt in facts.spot_halts:
        say(f"  spot is halted {halt}: no candles exist then")
    say(f"  spot candles of {facts.off_grid} open 14.789 s off the minute")
    for symbol in facts.symbols:
        ended = f", no longer traded since {format_ms(symbol.end_ms)}" if symbol.is_delisted else ""
        say(f"  {symbol.market}:{symbol.symbol} is listed at {format_ms(symbol.listing_ms)}{ended}")


def _say(text: str) -> None:
    print(text)
    sys.stdout.flush()


def _say_nothing(_text: str) -> None:
    pass
