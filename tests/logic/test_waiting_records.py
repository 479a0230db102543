"""Trades and prices on their way into the database."""

from core.instrument import ExchangeName, Instrument, Market
from core.market_data import BookTop, MarkPrice, Trade
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from logic.live.waiting_records import MOST_BOOKS, WaitingRecords

BTC, ETH = (Instrument(ExchangeName.BINANCE, Market.SPOT, name) for name in ("BTCUSDT", "ETHUSDT"))
TRADES = StreamKey(StreamKind.TRADE, BTC)
OTHER = StreamKey(StreamKind.TRADE, ETH)
BOOK = StreamKey(StreamKind.DEPTH, BTC, levels=5)
PRICES = StreamKey(StreamKind.MARK_PRICE, BTC)


def trade(number: int) -> Trade:
    return Trade(number, 1_000 * number, "1", "1", True)


def price(at_ms: int) -> MarkPrice:
    return MarkPrice(at_ms, "1", None, None, "1", None, None)


def waiting(every_ms: int = 1_000, most: int = 200_000) -> WaitingRecords:
    return WaitingRecords({StreamKind.MARK_PRICE: every_ms, StreamKind.DEPTH: every_ms}, most)


def book(at_ms: int, number: int, bid: str) -> BookTop:
    return BookTop(None, at_ms, number, 5, [(bid, "1")], [])


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


def test_of_order_books_the_first_of_each_stretch_of_time_is_kept_when_it_differs_and_is_newer() -> None:
    queue = waiting(every_ms=1_000)
    kept = [book(10_000, 1, "9"), book(12_100, 4, "8"), book(13_000, 6, "9")]
    for one in (kept[0], book(10_500, 2, "7"), book(11_000, 3, "9"), book(12_000, 1, "5"), kept[1], kept[2]):
        queue.put(BOOK, one)
    assert len(queue) == 3
    assert queue.take(9) == [(BOOK, one) for one in kept]
    queue.put(BOOK, book(20_000, 2, "3"))
    assert queue.take(9) == [], "an older one"
    queue.forget_books([BOOK])
    queue.put(BOOK, book(20_000, 2, "3"))
    assert queue.take(9) == [(BOOK, book(20_000, 2, "3"))], "after a cut ids may begin anew"


def test_too_many_order_books_push_out_the_oldest_which_is_counted() -> None:
    queue = waiting(every_ms=1)
    for number in range(MOST_BOOKS + 2):
        queue.put(BOOK, book(number, number, str(number)))
    assert queue.dropped == {BOOK: 2}
    assert queue.take(9)[0][1] == book(2, 2, "2")
