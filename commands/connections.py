"""From the settings to the database and the exchange."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from commands.context import CommandContext
from config.settings import Settings
from core.instrument import ExchangeName
from core.sources import AllowedSources
from logic.backfill.run import BackfillOptions
from logic.opening import (
    Database,
    DatabaseAddress,
    ExchangeAddresses,
    ExchangeSource,
    enable_timescale,
    open_exchange,
    open_for_reading,
    open_for_writing,
    shared_budget,
)
from logic.planning.series_plan import FetchPolicy


def database_address(settings: Settings) -> DatabaseAddress:
    """Return where the database is, as the settings say."""
    if settings.database is None:
        return DatabaseAddress(settings.embedded_pg_dir)
    return DatabaseAddress(settings.embedded_pg_dir, settings.database.url, settings.database.keywords)


def reading(context: CommandContext) -> AbstractContextManager[Database | None]:
    """Open the database for a command that changes nothing; None when nothing was ever stored."""
    return open_for_reading(database_address(context.settings), context.interruption.cancelling)


def writing(context: CommandContext) -> AbstractContextManager[Database]:
    """Open the database with its schema up to date."""
    return open_for_writing(database_address(context.settings), context.interruption.cancelling)


def make_exchange(context: CommandContext) -> ExchangeSource:
    """Return the exchange as the settings say; nothing is asked yet and nothing written."""
    settings = context.settings
    addresses = ExchangeAddresses(
        api_urls=settings.api_urls,
        archive_url=settings.archive_url,
        archive_list_url=settings.archive_list_url,
        weight_share=settings.weight_share,
        page_limit=settings.default_limit,
        workers=settings.fetch_workers,
        state_dir=settings.state_dir,
    )
    return open_exchange(ExchangeName.BINANCE, addresses, context.interruption.sleep, context.now_ms)


@contextmanager
def asking(context: CommandContext) -> Iterator[ExchangeSource]:
    """Yield the exchange for a run that stores: it shares its request weight with the other runs on the database."""
    exchange = make_exchange(context)
    exchange.archives.remove_leftovers()
    with shared_budget(database_address(context.settings), context.interruption.cancelling, exchange):
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
