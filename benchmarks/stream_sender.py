"""Sends live frames to whoever subscribes, at the rate it is told: the exchange's side of benchmarks/stream.py.

    python benchmarks/stream_sender.py [--minutes 60]

A process of its own, so that making and sending frames costs the measured process nothing. The frames are those of the
replay exchange (demo/kline_frames.py, demo/trade_frames.py), made beforehand; each gets the microsecond in which it is
sent, by the machine's steady clock, in place of a quantity. Symbols are S0000USDT and so on; their 1m candles begin at
BEGIN_MS. The first line it prints has its addresses; then each command on its input has an answer:

    pause, resume   send nothing, go on
    rate R S F      R frames a second for S seconds over all streams, closed candles of all of them every F seconds;
                    then nothing, so that what came can be counted
    close           the closed candle of the next minute, of all streams of candles at once
    abort N         tear the connection that has been open longest, or the Nth after it
    silence N       send nothing over it any more
    connections     how many streams each open connection carries

Between commands each stream of candles has a frame every 2 s (spot) or 250 ms (futures), as on the exchange.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT)]

from websockets.asyncio.server import ServerConnection, serve  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.protocol import State  # noqa: E402

from core.instrument import Market  # noqa: E402
from core.ranges import Span  # noqa: E402
from core.series import make_series, parse_series  # noqa: E402
from core.times import MS_PER_MINUTE, parse_time  # noqa: E402
from demo.candle_store import CandleStore  # noqa: E402
from demo.generated_market import generate_series  # noqa: E402
from demo.market_data import MarketData  # noqa: E402
from demo.stream_channels import Channels  # noqa: E402
from demo.stream_frames import Channel, text_frame  # noqa: E402
from demo.stream_names import Kind, StreamName, read_name  # noqa: E402

BEGIN_MS = parse_time("2024-06-03")
STAMP = 10**15  # microseconds of the steady clock are added: always 16 digits, exact as a float too
_FIRST_ID = 10**12
_OURS = re.compile(r"s\d{4}usdt")  # what else is subscribed to stays silent
_AFTER_CLOSE_MS = 5_000  # every final frame has come by then
_STEP_S, _PAUSED_STEP_S = 0.001, 0.05
_CADENCE_S = {Market.SPOT: 2.0, Market.UM: 0.25}


def symbol_of(number: int) -> str:
    """Return the symbol with that number."""
    return f"S{number:04}USDT"


def _phase(name: str) -> int:
    """Return the place of a stream among the others, spread at random as on the exchange."""
    return zlib.crc32(name.encode())


def now_us() -> int:
    """Return the steady clock of this machine, the same in all its processes."""
    return time.monotonic_ns() // 1000


class Symbols:
    """The candles and trades of all symbols: the same for each, or making them would take longest."""

    def __init__(self, minutes: int) -> None:
        span = Span(BEGIN_MS, BEGIN_MS + minutes * MS_PER_MINUTE)
        self._rows = list(generate_series(parse_series("BTCUSDT"), span, 1))
        self._channels: dict[tuple[Market, str], Channel] = {}

    def candles(self, market: Market, name: StreamName) -> Channel:
        """Return the frames of a stream of candles; the first final one is the second minute's."""
        found = self._channels.get((market, name.text))
        if found is None:
            found = self._channels[market, name.text] = self._channel(market, name)
            found.restart(BEGIN_MS + MS_PER_MINUTE + _AFTER_CLOSE_MS)
        return found

    def open_candle(self, market: Market, name: StreamName) -> bytes:
        """Return the event of a candle that has not closed: the newest one in the second minute."""
        channel = self._channel(market, name)
        channel.restart(BEGIN_MS + MS_PER_MINUTE + _AFTER_CLOSE_MS)
        return channel.due(BEGIN_MS + 2 * MS_PER_MINUTE - 1)[-1].payload

    def trade(self, market: Market, name: StreamName) -> bytes:
        """Return the event of a trade."""
        channel = self._channel(market, name)
        channel.restart(BEGIN_MS)
        return channel.due(BEGIN_MS + MS_PER_MINUTE)[0].payload

    def _channel(self, market: Market, name: StreamName) -> Channel:
        store = CandleStore()
        store.add(make_series(market, name.symbol.upper(), "1m"), self._rows)
        return Channels(MarketData(store))(market, name)


class Stream:
    """One stream on one connection: the parts of its frame around what changes."""

    def __init__(self, connection: Link, name: StreamName, market: Market, symbols: Symbols) -> None:
        self.connection, self.name = connection, name
        self._id = _FIRST_ID
        self.is_candles = name.kind is Kind.KLINE
        if self.is_candles:
            self._channel = symbols.candles(market, name)
            frame = self._wrapped(symbols.open_candle(market, name))
            frame = re.sub(rb'"v":"[^"]*"', rb'"v":"%d"' % STAMP, frame, count=1)
        else:
            frame = self._wrapped(symbols.trade(market, name))
            frame = re.sub(rb'"q":"[^"]*"', rb'"q":"%d"' % STAMP, frame, count=1)
            frame = re.sub(rb'"a":\d+', rb'"a":%d' % _FIRST_ID, frame, count=1)
        wire = text_frame(frame)
        self._before, self._after = wire.split(b"%d" % STAMP)
        self._before_id = self._before.split(b"%d" % _FIRST_ID)

    def _wrapped(self, event: bytes) -> bytes:
        return b'{"stream":"%s","data":%s}' % (self.name.text.encode(), event)

    def frame(self) -> bytes:
        """Return the next frame on the wire."""
        if self.is_candles:
            return b"%b%d%b" % (self._before, STAMP + now_us(), self._after)
        self._id += 1
        head, middle = self._before_id
        return b"%b%d%b%d%b" % (head, self._id, middle, STAMP + now_us(), self._after)

    def final(self, minute: int) -> bytes:
        """Return the frame of a closed candle on the wire; minutes are asked for in order."""
        due = self._channel.due(BEGIN_MS + (minute + 1) * MS_PER_MINUTE + _AFTER_CLOSE_MS)
        return b"".join(text_frame(self._wrapped(one.payload)) for one in due if one.is_final)


class Link:
    """One connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.streams: dict[str, Stream] = {}
        self.is_silent = False
        self.out: list[bytes] = []

    def flush(self) -> None:
        """Send what is queued."""
        if self.out and not self.is_silent and self.connection.state is State.OPEN:
            self.connection.transport.write(b"".join(self.out))
        self.out.clear()


class Sender:
    """Connections, their streams, and how fast frames go."""

    def __init__(self, minutes: int) -> None:
        self._symbols = Symbols(minutes)
        self._links: list[Link] = []
        self._by_name: dict[Market, dict[str, list[Stream]]] = {market: {} for market in _CADENCE_S}
        self._rates: dict[Market, float] | None = None  # None: the exchange's own cadence
        self._sent = 0
        self._left: int | None = None
        self._minute = 0

    async def serve(self, market: Market, connection: ServerConnection) -> None:
        """Keep one connection."""
        link = Link(connection)
        self._links.append(link)
        try:
            asked = parse_qs(urlsplit(unquote(connection.request.path)).query)
            self._subscribe(link, market, [name for names in asked.get("streams", ()) for name in names.split("/")])
            async for text in connection:
                request = json.loads(text)
                if request["method"] == "SUBSCRIBE":
                    self._subscribe(link, market, request["params"])
                else:
                    self._leave(link, market, request["params"])
                await connection.send(json.dumps({"result": None, "id": request["id"]}))
        except ConnectionClosed:
            pass
        finally:
            self._links.remove(link)
            self._leave(link, market, list(link.streams))

    def _subscribe(self, link: Link, market: Market, names: Iterable[str]) -> None:
        for text in names:
            name = read_name(market, text)
            if name is not None and _OURS.fullmatch(name.symbol):
                link.streams[text] = Stream(link, name, market, self._symbols)
                self._by_name[market].setdefault(text, []).append(link.streams[text])

    def _leave(self, link: Link, market: Market, names: Iterable[str]) -> None:
        for text in names:
            stream = link.streams.pop(text, None)
            if stream is not None:
                self._by_name[market][text].remove(stream)

    def _streams(self, market: Market) -> list[Stream]:
        return [one for streams in self._by_name[market].values() for one in streams]

    async def pump(self, market: Market) -> None:
        """Send frames for ever: of each stream in turn, in an order that no new connection changes."""
        last_s, owed = time.monotonic(), 0.0
        turn: deque[str] = deque()
        while True:
            await asyncio.sleep(_STEP_S if self._rate(market) else _PAUSED_STEP_S)
            now_s = time.monotonic()
            owed += (now_s - last_s) * self._rate(market)
            last_s = now_s
            count = int(owed)
            owed -= count
            if self._left is not None:
                count = min(count, self._left)
            while count > 0 and self._by_name[market]:
                turn = turn or deque(sorted(self._by_name[market], key=_phase))
                some = [turn.popleft() for _ in range(min(count, len(turn)))]
                sent = self._send(self._due(market, some))
                count -= max(sent, 1)
                if self._left is not None:
                    self._left = max(0, self._left - sent)

    def _due(self, market: Market, names: Iterable[str]) -> list[Stream]:
        """Return the streams with these names; at the exchange's own cadence those of candles only."""
        streams = [one for name in names for one in self._by_name[market].get(name, ())]
        return [one for one in streams if self._left is not None or one.is_candles]

    def _rate(self, market: Market) -> float:
        if self._rates is not None:
            return self._rates.get(market, 0.0)
        return sum(one.is_candles for one in self._streams(market)) / _CADENCE_S[market]

    def _send(self, streams: Sequence[Stream]) -> int:
        links = {}
        for one in streams:
            one.connection.out.append(one.frame())
            links[one.connection] = None
        for link in links:
            link.flush()
        self._sent += len(streams)
        return len(streams)

    async def rate(self, per_second: float, seconds: float, finals_s: float) -> dict[str, object]:
        """Send at a rate, shared by the markets as their streams are."""
        counts = {market: len(self._streams(market)) for market in _CADENCE_S}
        self._sent, finals = 0, 0
        began_s = time.monotonic()
        self._left = int(per_second * seconds)
        self._rates = {market: per_second * count / sum(counts.values()) for market, count in counts.items()}
        next_s = began_s + finals_s
        while self._left:
            await asyncio.sleep(_STEP_S)
            if finals_s and time.monotonic() >= next_s:
                next_s += finals_s
                finals += int(str((await self.close())["finals"]))
        took_s = time.monotonic() - began_s
        self._rates, self._left = {}, None
        return {"sent": self._sent, "finals": finals, "seconds": took_s}

    async def pause(self) -> dict[str, object]:
        """Send nothing until a `rate` or `resume`."""
        self._rates = {}
        return {}

    async def resume(self) -> dict[str, object]:
        """Go on at the exchange's own cadence."""
        self._rates = None
        return {}

    async def close(self) -> dict[str, object]:
        """Send the closed candles of the next minute."""
        self._minute += 1
        streams = [one for market in _CADENCE_S for one in self._streams(market) if one.is_candles]
        for number, one in enumerate(streams):
            one.connection.out.append(one.final(self._minute))
            if number % 50 == 49:
                await asyncio.sleep(0)
        at_us = now_us()
        for link in self._links:
            link.flush()
        return {"finals": len(streams), "at_us": at_us}

    async def abort(self, number: int) -> dict[str, object]:
        """Tear a connection."""
        link = self._links[number]
        at_us, streams = now_us(), len(link.streams)
        link.connection.transport.abort()
        return {"at_us": at_us, "streams": streams}

    async def silence(self, number: int) -> dict[str, object]:
        """Send nothing over a connection any more."""
        self._links[number].is_silent = True
        return {"at_us": now_us(), "streams": len(self._links[number].streams)}

    async def connections(self) -> dict[str, object]:
        """Return how many streams each connection carries."""
        return {"streams": [len(link.streams) for link in self._links]}


async def run(sender: Sender, is_ready: threading.Event, found: dict[str, object]) -> None:
    """Listen, and send."""

    async def spot(connection: ServerConnection) -> None:
        await sender.serve(Market.SPOT, connection)

    async def futures(connection: ServerConnection) -> None:
        await sender.serve(Market.UM, connection)

    options = {"compression": None, "ping_interval": None, "max_size": 1 << 22}
    async with serve(spot, "127.0.0.1", 0, **options) as one, serve(futures, "127.0.0.1", 0, **options) as other:
        for market, server in ((Market.SPOT, one), (Market.UM, other)):
            found[market.value] = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        found["loop"] = asyncio.get_running_loop()
        is_ready.set()
        await asyncio.gather(*(sender.pump(market) for market in _CADENCE_S))


def main() -> None:
    """Serve until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    sender = Sender(parser.parse_args().minutes)
    is_ready, found = threading.Event(), dict[str, object]()
    threading.Thread(target=lambda: asyncio.run(run(sender, is_ready, found)), daemon=True).start()
    is_ready.wait()
    loop = found.pop("loop")
    print(json.dumps(found), flush=True)  # noqa: T201
    for line in sys.stdin:
        name, *numbers = line.split()
        doing = getattr(sender, name)(*(int(one) if one.isdigit() else float(one) for one in numbers))
        print(json.dumps(asyncio.run_coroutine_threadsafe(doing, loop).result()), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
