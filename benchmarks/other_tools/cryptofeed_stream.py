"""Read live frames by cryptofeed: its Binance feed with callbacks for candles and trades.

    python cryptofeed_stream.py BASE_URL

It checks nothing of the values and makes them Decimals. It has no setting for the address of its feed and insists on
wss, so in this process only its connections go to BASE_URL; which symbols exist is told to it, instead of by REST.
Candles that have not closed are asked for, as by the others. No database. Run by stream.py.
"""

from __future__ import annotations

import sys
from typing import Any

from cryptofeed import FeedHandler, connection
from cryptofeed.defines import CANDLES, SPOT, TRADES
from cryptofeed.exchanges import Binance
from cryptofeed.symbols import Symbols
from stream_meter import SERIES, Meter
from stream_meter import TRADES as TRADE_STREAMS

PLACEHOLDER = "wss://stream.binance.com:9443"


def moved(base_url: str) -> None:
    """Send cryptofeed's connections to another address."""
    original = connection.connect

    def connect(address: str, **options: object) -> object:
        return original(address.replace(PLACEHOLDER, base_url), **options)

    connection.connect = connect


def main() -> None:
    """Read all streams."""
    moved(sys.argv[1])
    meter = Meter()
    symbols = [f"S{number:04}-USDT" for number in range(SERIES)]
    known = {symbol: symbol.replace("-", "") for symbol in symbols}
    Symbols.set(Binance.id, known, {"instrument_type": dict.fromkeys(symbols, SPOT)})

    async def candle(update: Any, _received: float) -> None:
        if update.closed:
            meter.closed()
        else:
            meter.handled(update.volume)

    async def trade(update: Any, _received: float) -> None:
        meter.handled(update.amount)

    handler = FeedHandler(config={"log": {"disabled": True, "filename": "", "level": "ERROR"}})
    handler.add_feed(
        Binance(
            subscription={CANDLES: symbols, TRADES: symbols[:TRADE_STREAMS]},
            callbacks={CANDLES: candle, TRADES: trade},
            candle_interval="1m",
            candle_closed_only=False,
        )
    )
    handler.run()


if __name__ == "__main__":
    main()
