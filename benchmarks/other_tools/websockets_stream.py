"""Read live frames by websockets and json, and do nothing with them: what everything else adds to.

    python websockets_stream.py BASE_URL

Candles and trades of stream_meter.py, 200 streams a connection. No database, no checks, no reconnecting.
Run by stream.py.
"""

from __future__ import annotations

import asyncio
import json
import sys

from stream_meter import Meter, names
from websockets.asyncio.client import connect


async def read(base_url: str, streams: list[str], meter: Meter) -> None:
    """Read one connection for ever."""
    url = f"{base_url}/stream?streams={'/'.join(streams)}"
    async with connect(url, compression=None, max_queue=None, ping_interval=None) as connection:
        async for text in connection:
            event = json.loads(text)["data"]
            if event["e"] == "aggTrade":
                meter.handled(event["q"])
            elif event["k"]["x"]:
                meter.closed()
            else:
                meter.handled(event["k"]["v"])


async def main() -> None:
    """Read all streams."""
    meter, streams = Meter(), names("kline_1m") + names("aggTrade")
    await asyncio.gather(*(read(sys.argv[1], streams[begin : begin + 200], meter) for begin in (0, 200)))


if __name__ == "__main__":
    asyncio.run(main())
