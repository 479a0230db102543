"""`public.fetch_clock`: how far the exchange's clock was ahead of the database server's when last read.

A command without network access, such as `check`, can then tell which candles have closed by the exchange's clock, even
when the clock of its own machine is wrong.
"""

from __future__ import annotations

from core.instrument import ExchangeName, Market
from db.connection import Transaction, fetch_one

_SERVER_NOW_MS = "floor(extract(epoch from clock_timestamp()) * 1000)::bigint"


def save_clock(tx: Transaction, exchange: ExchangeName, market: Market, exchange_now_ms: int) -> None:
    """Store the exchange's time, just read (epoch ms), as its difference to the database server's clock."""
    tx.cursor.execute(
        "insert into public.fetch_clock as known (exchange, market, ahead_ms, asked_at)"
        f" values (%s, %s, %s - {_SERVER_NOW_MS}, clock_timestamp())"
        " on conflict (exchange, market) do update set ahead_ms = excluded.ahead_ms, asked_at = excluded.asked_at",
        (exchange.value, market.value, exchange_now_ms),
    )


def load_exchange_now_ms(tx: Transaction, exchange: ExchangeName, market: Market) -> int:
    """Return the exchange's time (epoch ms) by the stored difference, or the database server's time without one."""
    tx.cursor.execute(
        f"select {_SERVER_NOW_MS} + coalesce("
        "(select ahead_ms from public.fetch_clock where exchange = %s and market = %s), 0)",
        (exchange.value, market.value),
    )
    return int(fetch_one(tx)[0])
