"""From the settings to the database."""

from __future__ import annotations

from contextlib import AbstractContextManager

from commands.context import CommandContext
from config.settings import Settings
from core.instrument import ExchangeName
from logic.opening import Database, DatabaseAddress, open_for_reading, open_for_writing


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
    settings = context.settings
    address, cancelling = database_address(settings), context.interruption.cancelling
    return open_for_writing(address, cancelling, ExchangeName.BINANCE, settings.is_testnet)
