"""Which channel a stream's frames come from."""

from __future__ import annotations

from core.instrument import Market
from core.series import make_series
from demo.book_frames import BookChannel
from demo.kline_frames import KlineChannel
from demo.market_data import MarketData
from demo.price_frames import PriceChannel
from demo.stream_frames import Channel
from demo.stream_names import Kind, StreamName
from demo.trade_frames import TradeChannel


class Channels:
    """Makes the channel of a stream when it is first subscribed."""

    def __init__(self, data: MarketData) -> None:
        self._data = data

    def __call__(self, market: Market, name: StreamName) -> Channel:
        """Return where the frames of the stream come from."""
        symbol = name.symbol.upper()
        match name.kind:
            case Kind.KLINE | Kind.CONTINUOUS_KLINE:
                series = make_series(market, symbol, name.interval)
                return KlineChannel(name, series, self._data.store, self._data.ids)
            case Kind.AGG_TRADE | Kind.TRADE:
                return TradeChannel(name.text, name.kind, market, symbol, self._data.history)
            case Kind.DEPTH | Kind.BOOK_TICKER:
                return BookChannel(name, market, symbol, self._data.books.book(market, symbol))
            case Kind.TICKER | Kind.MINI_TICKER | Kind.MARK_PRICE:
                return PriceChannel(name, market, symbol, self._data.tickers, self._data.funding)
