"""Copy closed 1m candles of spot BTCUSDT into a table by ccxt: a page, an insert, a commit, and on to the next page.

    python ccxt_loop.py DSN BASE_URL START_MS END_MS

What one writes after reading ccxt's manual, with its own rate limiting on, which is the default. A unified candle has
five values; quote volume, trades and the takers' volumes are not among them. Run by compare.py.
"""

from __future__ import annotations

import sys

import ccxt
import psycopg2
from psycopg2.extras import execute_values

CREATE = """
    create table candles (
        time timestamptz primary key, open numeric not null, high numeric not null, low numeric not null,
        close numeric not null, volume numeric not null
    )
"""
INSERT = "insert into candles (time, open, high, low, close, volume) values %s on conflict (time) do nothing"
TEMPLATE = "(to_timestamp(%s / 1000.0), %s, %s, %s, %s, %s)"
MINUTE_MS = 60_000
PAGE = 1000


def exchange_at(base_url: str) -> ccxt.binance:
    """Return ccxt's Binance, all of whose public markets are at `base_url`."""
    addresses = {"public": "/api/v3", "fapiPublic": "/fapi/v1", "dapiPublic": "/dapi/v1"}
    return ccxt.binance({"urls": {"api": {name: base_url + path for name, path in addresses.items()}}})


def copy(dsn: str, base_url: str, start_ms: int, end_ms: int) -> None:
    """Copy the candles that open in `[start_ms, end_ms)`."""
    exchange = exchange_at(base_url)
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(CREATE)
    since = start_ms
    while since < end_ms:
        page = exchange.fetch_ohlcv("BTC/USDT", "1m", since=since, limit=PAGE)
        candles = [candle for candle in page if candle[0] < end_ms]
        if not candles:
            break
        with connection, connection.cursor() as cursor:
            execute_values(cursor, INSERT, candles, TEMPLATE, page_size=PAGE)
        since = candles[-1][0] + MINUTE_MS
    connection.close()


if __name__ == "__main__":
    copy(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
