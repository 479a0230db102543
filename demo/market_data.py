"""Everything that is made of a store's candles, once for REST, streams and archives, so that they agree."""

from __future__ import annotations

from demo.candle_store import CandleStore
from demo.day_ticker import DayTickers
from demo.funding import Funding
from demo.order_book import Books
from demo.prices import Prices
from demo.trade_history import TradeHistory
from demo.trade_ids import TradeIds


class MarketData:
    """The store and what follows from it."""

    def __init__(self, store: CandleStore) -> None:
        self.store = store
        self.ids = TradeIds(store)
        self.history = TradeHistory(store, self.ids)
        prices = Prices(store, self.ids)
        self.books = Books(prices)
        self.tickers = DayTickers(store, self.ids, self.history, self.books)
        self.funding = Funding(prices)
