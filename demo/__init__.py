"""The replay exchange: recorded or generated candles served over real sockets, as Binance's public hosts serve them."""
