"""From the settings to the exchange. Apart from the database, for commands that ask no exchange."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from commands.connections import database_address
from commands.context import CommandContext
from config.settings import Settings
from core.instrument import ExchangeName
from core.sources import AllowedSources
from logic.backfill.run import BackfillOptions
from logic.exchange_opening import (
    ExchangeAddresses,
    ExchangeSource,
    StreamAddresses,
    open_exchange,
    share_budget,
)
from logic.opening import Database, enable_timescale, open_database
from logic.planning.series_plan import FetchPolicy


def make_exchange(context: CommandContext, is_lasting: bool = False) -> ExchangeSource:
    """Return the exchange as the settings say; nothing is asked yet and nothing written. `is_lasting`: see `asking`."""
    settings = context.settings
    addresses = ExchangeAddresses(
        api_urls=settings.api_urls,
        archive_url=settings.archive_url,
        archive_list_url=settings.archive_list_url,
        weight_share=settings.weight_share,
        page_limit=settings.default_limit,
        workers=settings.fetch_workers,
        state_dir=settings.state_dir,
        breaks_circuit=is_lasting,
    )
    return open_exchange(ExchangeName.BINANCE, addresses, context.interruption.sleep, context.now_ms)


def stream_addresses(settings: Settings) -> StreamAddresses:
    """Return where the live streams are, and the limits for their use."""
    streams = settings.streams
    return StreamAddresses(streams.urls, streams.max_per_connection, streams.stall_ms)


@contextmanager
def asking(context: CommandContext, is_lasting: bool = False) -> Iterator[ExchangeSource]:
    """Yield the exchange for a run that stores: it shares its request weight with the other runs on the database.

    `is_lasting`: for a process that stays, which leaves a host alone that fails again and again.
    """
    exchange = make_exchange(context, is_lasting)
    exchange.archives.remove_leftovers()
    with open_database(database_address(context.settings), context.interruption.cancelling) as database:
        share_budget(database, exchange)
        yield exchange


def backfill_options(
    context: CommandContext,
    database: Database,
    allowed: AllowedSources = AllowedSources.AUTO,
    heal_gaps: bool = True,
    replaces_catalog: bool = False,
) -> BackfillOptions:
    """Return what a backfill needs to know."""
    settings = context.settings
    timescale = enable_timescale(database, settings.timescale)
    return BackfillOptions(
        run_id=context.run_id,
        policy=FetchPolicy(allowed, settings.chunk_days),
        workers=settings.fetch_workers,
        heal_gaps=heal_gaps,
        witness=settings.witness,
        replaces_catalog=replaces_catalog,
        timescale=timescale is not None,
        compress_after_days=settings.compress_after_days if timescale and timescale.can_compress else 0,
        state_dir=settings.state_dir,
    )
