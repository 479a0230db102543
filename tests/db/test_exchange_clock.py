from __future__ import annotations

import time

import pytest

from core.instrument import ExchangeName, Market
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE
from db.connection import Database
from db.exchange_clock import load_exchange_now_ms, save_clock

BINANCE = ExchangeName.BINANCE


def now_ms(database: Database, market: Market = Market.SPOT) -> int:
    with database.transaction("read") as tx:
        return load_exchange_now_ms(tx, BINANCE, market)


def keep(database: Database, exchange_now_ms: int, market: Market = Market.SPOT) -> None:
    with database.transaction("keep") as tx:
        save_clock(tx, BINANCE, market, exchange_now_ms)


def server_ms(database: Database) -> int:
    with database.transaction("read") as tx:
        tx.cursor.execute("select (extract(epoch from clock_timestamp()) * 1000)::bigint")
        [(ms,)] = tx.cursor.fetchall()
    return int(ms)


def test_an_exchange_that_was_never_asked_has_the_servers_time(database: Database) -> None:
    before = server_ms(database)
    assert before <= now_ms(database) + 1
    assert now_ms(database) <= server_ms(database)


@pytest.mark.parametrize("ahead_ms", [-400 * MS_PER_DAY, -MS_PER_HOUR, -7, 0, 1_234, 90 * MS_PER_DAY])
def test_the_exchanges_time_goes_on_from_when_it_was_asked(database: Database, ahead_ms: int) -> None:
    exchange_ms = server_ms(database) + ahead_ms
    keep(database, exchange_ms)
    first = now_ms(database)
    time.sleep(0.05)
    later = now_ms(database)
    assert exchange_ms <= first + 1
    assert first + 50 <= later + 1
    assert later < exchange_ms + MS_PER_MINUTE


def test_within_one_transaction_it_is_the_time_now_and_not_that_of_the_transactions_start(database: Database) -> None:
    with database.transaction("read") as tx:
        first = load_exchange_now_ms(tx, BINANCE, Market.SPOT)
        time.sleep(0.05)
        assert load_exchange_now_ms(tx, BINANCE, Market.SPOT) >= first + 49


def test_the_last_answer_counts(database: Database) -> None:
    keep(database, server_ms(database) + MS_PER_DAY)
    keep(database, server_ms(database) - MS_PER_DAY)
    assert abs(now_ms(database) - (server_ms(database) - MS_PER_DAY)) < MS_PER_MINUTE
    with database.transaction("read") as tx:
        tx.cursor.execute("select exchange, market, asked_at <= clock_timestamp() from public.fetch_clock")
        assert tx.cursor.fetchall() == [("binance", "spot", True)]


def test_every_market_has_a_clock_of_its_own(database: Database) -> None:
    keep(database, server_ms(database) + MS_PER_DAY, Market.UM)
    assert abs(now_ms(database, Market.UM) - (server_ms(database) + MS_PER_DAY)) < MS_PER_MINUTE
    for market in (Market.SPOT, Market.CM):
        assert abs(now_ms(database, market) - server_ms(database)) < MS_PER_MINUTE
