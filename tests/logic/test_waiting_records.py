"""Trades and prices on their way into the database."""

from core.instrument import ExchangeName, Instrument, Market
from core.market_data import MarkPrice, Trade
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from logic.live.waiting_records import WaitingRecords

BTC, ETH = (Instrument(ExchangeName.BINANCE, Market.SPOT, name) for name in ("BTCUSDT", "ETHUSDT"))
TRADES = StreamKey(StreamKind.TRADE, BTC)
OTHER = StreamKey(StreamKind.TRADE, ETH)
PRICES = StreamKey(StreamKind.MARK_PRICE, BTC)


def trade(number: int) -> Trade:
    return Trade(number, 1_000 * number, "1", "1", True)


def price(at_ms: int) -> MarkPrice:
    return MarkPrice(at_ms, "1", None, None, "1", None, None)


def waiting(every_ms: int = 1_000, most: int = 200_000) -> WaitingRecords:
    return WaitingRecords({StreamKind.MARK_PRICE: every_ms}, most)


def test_trades_come_out_in_order_and_a_few_at_a_time() -> None:
    queue = waiting()
    for number in range(5):
        queue.put(TRADES, trade(number))
    assert len(queue) == 5
    assert [record.id for _, record in queue.take(3)] == [0, 1, 2]
    assert [record.id for _, record in queue.take(3)] == [3, 4]
    assert queue.take(3) == []


def test_of_prices_the_first_of_each_stretch_of_time_is_kept_and_the_newest_waits() -> None:
    queue = waiting(every_ms=1_000)
    for at_ms in (10_000, 10_400, 10_999):
        queue.put(PRICES, price(at_ms))
    assert queue.take(9) == [(PRICES, price(10_000))]
    queue.put(PRICES, price(10_999))
    assert queue.take(9) == []
    for at_ms in (11_001, 12_001, 12_002, 11_900):
        queue.put(PRICES, price(at_ms))
    assert queue.take(9) == [(PRICES, price(12_001))]


def test_a_full_queue_leaves_instruments_out_until_it_is_half_empty() -> None:
    queue = waiting(most=4)
    for number in range(6):
        queue.put(TRADES, trade(number))
    assert queue.dropped == {TRADES: 2}
    queue.take(1)
    queue.put(TRADES, trade(6))  # not yet: what comes in between would make a gap of each
    queue.put(OTHER, trade(1))
    assert queue.dropped == {TRADES: 3}
    queue.take(2)
    queue.put(TRADES, trade(7))
    assert [(key, record) for key, record in queue.take(9)] == [
        (TRADES, trade(3)),
        (OTHER, trade(1)),
        (TRADES, trade(7)),
    ]
    assert queue.dropped == {TRADES: 3}


def test_who_waits_is_woken_by_enough_trades_or_the_end() -> None:
    queue = waiting()
    queue.put(TRADES, trade(1))
    queue.wait(1, longest_s=60)
    queue.wait(2, longest_s=0.01)
    queue.close()
    queue.wait(2, longest_s=60)
    assert queue.is_closed
