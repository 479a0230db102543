"""`public.fetch_environment`: whether a database holds candles of the real exchange or of its test network.

The two must never be mixed: the test network has the same symbols at made-up prices.
"""

from __future__ import annotations

from core.errors import ConfigurationError
from core.instrument import ExchangeName
from db.connection import Database


def require_environment(database: Database, exchange: ExchangeName, is_testnet: bool) -> None:
    """Note for a database without candles which of the two it is for. Raises ConfigurationError when it is the other.

    Raises DatabaseUnavailable too.
    """
    with database.transaction("look which exchange the candles are of") as tx:
        tx.cursor.execute("select is_testnet from public.fetch_environment where exchange = %s", (exchange.value,))
        known = tx.cursor.fetchone()
        if known is None:
            tx.cursor.execute(
                "insert into public.fetch_environment (exchange, is_testnet) values (%s, %s) on conflict do nothing",
                (exchange.value, is_testnet),
            )
            return
    if known[0] != is_testnet:
        raise ConfigurationError(
            f"the database at {database.address} holds candles of {_name(known[0])}, and BINANCE_TESTNET asks for "
            f"those of {_name(is_testnet)}: use another database (DATABASE_URL, PG_DATABASE or EMBEDDED_PG_DIR)"
        )


def _name(is_testnet: bool) -> str:
    return "the test network" if is_testnet else "the real exchange"
