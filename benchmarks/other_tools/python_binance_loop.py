"""Copy closed 1m candles of spot BTCUSDT into a table by python-binance: `get_historical_klines`, then one insert.

    python python_binance_loop.py DSN BASE_URL START_MS END_MS

What one writes after reading its documentation: the library pages by itself, pauses a second after every third page
"to be kind to the API", and returns all the candles at once, with their nine values as text. Run by compare.py.
"""

from __future__ import annotations

import sys

import psycopg2
from binance.client import Client
from psycopg2.extras import execute_values

CREATE = """
    create table candles (
        time timestamptz primary key, open numeric not null, high numeric not null, low numeric not null,
        close numeric not null, volume numeric not null, quote_volume numeric not null, trades integer not null,
        taker_buy_volume numeric not null, taker_buy_quote_volume numeric not null
    )
"""
INSERT = "insert into candles values %s on conflict (time) do nothing"
TEMPLATE = "(to_timestamp(%s / 1000.0), %s, %s, %s, %s, %s, %s, %s, %s, %s)"
PAGE = 1000


def copy(dsn: str, base_url: str, start_ms: int, end_ms: int) -> None:
    """Copy the candles that open in `[start_ms, end_ms)`."""
    Client.API_URL = f"{base_url}/api"  # on the class: the first ping is sent while a client is made
    klines = Client().get_historical_klines(
        "BTCUSDT",
        Client.KLINE_INTERVAL_1MINUTE,
        start_ms,
        end_ms - 1,  # its end is inclusive
    )
    rows = [(*kline[:6], *kline[7:11]) for kline in klines]
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(CREATE)
        execute_values(cursor, INSERT, rows, TEMPLATE, page_size=PAGE)
    connection.close()


if __name__ == "__main__":
    copy(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
