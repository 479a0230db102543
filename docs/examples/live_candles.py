"""Prints closed candles as they come, and keeps them in the database.

PYTHONPATH=. .venv/bin/python docs/examples/live_candles.py BTCUSDT 1m 3
"""

from __future__ import annotations

import asyncio
import sys

from bus.event_bus import InMemoryEventBus
from commands.market_data_service import MarketDataService
from core.events import GAP, KLINE, Event


async def main(symbol: str, interval: str, candles: int) -> None:
    """Print so many closed candles of a symbol."""
    bus = InMemoryEventBus()
    service = MarketDataService(event_bus=bus)
    come: asyncio.Queue[Event] = asyncio.Queue()

    async def closed(event: Event) -> None:
        # The candle is committed: whoever reads the table now finds it.
        await come.put(event)

    bus.subscribe(KLINE, closed)
    bus.subscribe(GAP, lambda event: print(f"{event.symbol}: frames may be lost, read the table again"))
    await service.start()
    await service.subscribe_symbol(symbol, data_types=["kline"], interval=interval)
    for _ in range(candles):
        event = await come.get()
        print(event.symbol, event.interval, event.data["open_time"], event.data["close"])
    newest = await service.get_historical_data(symbol, interval, limit=1)
    print("newest in the table:", newest[0]["time"])
    await service.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
