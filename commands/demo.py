"""`demo`: the same backfill, offline, against a local replay exchange, into a database of its own."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from commands.backfill import run_backfill
from commands.check import run_check
from commands.database import open_database
from commands.display import print_table
from commands.status import run_status
from config.settings import Settings
from core.errors import EXIT_OK, ConfigurationError
from core.series import Series, parse_series
from core.times import format_ms
from db.embedded import DATABASE_NAME, EmbeddedServer
from db.operations import load_newest
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import DEFAULT_SPAN, generate_market
from demo.market_facts import market_facts
from demo.recordings import load_recordings
from demo.server import ReplayExchange

_SEED = 7
_GENERATED_SERIES = ("BTCUSDT", "ETHUSDT", "BCCUSDT", "BTCUSDT/1h", "BTCUSDT/1M", "um:BTCUSDT/5m", "cm:BTCUSD_PERP/1h")
_MOMENT_MS = 10_000  # the last candle has just closed, and none closes while the demo runs
_DAY_AFTER_MS = 2 * 86_400_000  # recorded days are served as published archives


def run_demo(arguments: argparse.Namespace, settings: Settings, run_id: str) -> int:
    """Run the demo and return the backfill's exit code. Never touches the configured database."""
    say = _say_nothing if arguments.json or arguments.quiet else _say
    if arguments.recordings is not None:
        store, now_ms, series = _recorded(Path(arguments.recordings))
        say(f"DEMO with recorded archives from {arguments.recordings}, served by a local replay exchange")
    else:
        store = generate_market(DEFAULT_SPAN.start_ms, DEFAULT_SPAN.end_ms, seed=_SEED)
        now_ms, series = DEFAULT_SPAN.end_ms + _MOMENT_MS, [parse_series(text) for text in _GENERATED_SERIES]
        say(f"DEMO with a generated market (seed {_SEED}): these are NOT real Binance prices")
        _describe_market(say)
    demo_settings = _demo_settings(settings)
    server = EmbeddedServer(demo_settings.embedded_pg_dir)
    with ReplayExchange(store, ReplayClock(now_ms)) as exchange:
        demo_settings = dataclasses.replace(
            demo_settings,
            api_urls={market: exchange.url for market in ("spot", "um", "cm")},
            archive_url=exchange.archive_url,
            archive_list_url=exchange.archive_list_url,
        )
        say(f"replay exchange at {exchange.url}, its clock at {format_ms(now_ms)}\n")
        try:
            server.ensure_running()
            server.recreate_database()
            exit_code = run_backfill(_backfill_arguments(arguments, series), demo_settings, run_id)
            if not arguments.json and exit_code == EXIT_OK:
                _show(arguments, demo_settings, series[0])
                requests = len(exchange.requests)
                say(f"\nThe replay exchange answered {requests:,} requests. Now the same again:\n")
                exchange.clear_requests()
                exit_code = run_backfill(_backfill_arguments(arguments, series), demo_settings, run_id)
                klines = exchange.count("klines")
                say(f"\n{len(exchange.requests)} requests this time, {klines} of them for candles.")
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
        log_dir=settings.log_dir / "demo",
        start_ms=None,
        end_ms=None,
        default_interval="1m",
    )


def _recorded(folder: Path) -> tuple[CandleStore, int, list[Series]]:
    if not folder.is_dir():
        raise ConfigurationError(f"--recordings: {folder} is not a folder")
    store = load_recordings(folder)
    series = sorted(store.series(), key=str)
    if not series:
        raise ConfigurationError(f"--recordings: no recorded kline archives (SYMBOL-1m-2023-01-31.zip) in {folder}")
    newest_ms = max(store.open_times(one)[-1] for one in series)
    return store, newest_ms + _DAY_AFTER_MS, series


def _backfill_arguments(arguments: argparse.Namespace, series: Sequence[Series]) -> argparse.Namespace:
    return argparse.Namespace(
        symbols=[str(one) for one in series],
        interval=None,
        start=None,
        end=None,
        source="auto",
        heal_gaps=False,
        dry_run=False,
        json=arguments.json,
        verbose=arguments.verbose,
        quiet=arguments.quiet,
    )


def _show(arguments: argparse.Namespace, settings: Settings, series: Series) -> None:
    choice = argparse.Namespace(symbols=None, json=False, verbose=arguments.verbose, quiet=arguments.quiet)
    run_status(choice, settings)
    run_check(choice, settings)
    database = open_database(settings)
    try:
        with database.transaction("read the newest candles") as cursor:
            columns, rows = load_newest(cursor, series.table_name, 5)
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
