"""Read live frames by python-binance: `BinanceSocketManager.multiplex_socket`, as its documentation has it.

    python python_binance_stream.py BASE_URL

It hands over what it has read from JSON, as a dict. Its queue between socket and reader drops frames above 100 unless
told otherwise; here it is told 1,000,000. No database, no checks of values. Run by stream.py.
"""

from __future__ import annotations

import asyncio
import sys

from binance import AsyncClient, BinanceSocketManager
from stream_meter import Meter, names


async def read(manager: BinanceSocketManager, streams: list[str], meter: Meter) -> None:
    """Read one connection for ever."""
    async with manager.multiplex_socket(streams) as socket:
        while True:
            event = (await socket.recv())["data"]
            if event["e"] == "aggTrade":
                meter.handled(event["q"])
            elif event["k"]["x"]:
                meter.closed()
            else:
                meter.handled(event["k"]["v"])


async def main() -> None:
    """Read all streams."""
    meter, streams = Meter(), names("kline_1m") + names("aggTrade")
    manager = BinanceSocketManager(AsyncClient(), max_queue_size=1_000_000)
    manager.STREAM_URL = sys.argv[1] + "/"
    await asyncio.gather(*(read(manager, streams[begin : begin + 200], meter) for begin in (0, 200)))


if __name__ == "__main__":
    asyncio.run(main())
