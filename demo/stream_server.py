"""The live streams of the replay exchange: a server on 127.0.0.1 with a port for each market, in a thread of its own.

Needs `websockets` (requirements-live.txt).
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import TypeVar

from core.instrument import Market
from demo.clock import ReplayClock
from demo.stream_connection import StreamConnection
from demo.stream_faults import StreamFaultScript
from demo.stream_hub import MakeChannel, StreamHub
from demo.stream_records import ConnectionRecord, RefusedHandshake

_POLL_S = 0.005
_BEAT_EVERY = 20  # polls
_START_S = 10.0

T = TypeVar("T")


class StreamServer:
    """Speaks the exchange's WebSocket protocol by `clock`, about what `make_channel` has.

    `faults` makes chosen connections and frames go wrong; `connections` and `refused` tell what happened.
    """

    def __init__(self, clock: ReplayClock, make_channel: MakeChannel) -> None:
        self.faults = StreamFaultScript()
        self._hub = StreamHub(clock, self.faults, make_channel)
        self._ports = dict.fromkeys(Market, 0)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None

    def start(self) -> StreamServer:
        """Begin to listen and return self. After a stop, the ports are the same as before."""
        if self._thread is None:
            is_ready = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(is_ready,), name="replay-streams", daemon=True)
            self._thread.start()
            if not is_ready.wait(_START_S) or self._failure is not None:
                raise RuntimeError("the replay exchange's stream server does not start") from self._failure
        return self

    def stop(self) -> None:
        """Stop listening and abort all connections."""
        if self._thread is not None:
            loop, stop = self._loop, self._stop
            if loop is not None and stop is not None:
                loop.call_soon_threadsafe(stop.set)
            self._thread.join(_START_S)
            self._thread = self._loop = None

    def __enter__(self) -> StreamServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def urls(self) -> dict[str, str]:
        """Base address by market, such as `{"spot": "ws://127.0.0.1:1234", "um": ..., "cm": ...}`."""
        return {market.value: f"ws://127.0.0.1:{port}" for market, port in self._ports.items()}

    @property
    def connections(self) -> list[ConnectionRecord]:
        """All connections ever, in the order in which they were accepted, as they are now."""
        return self._ask(lambda: copy.deepcopy(self._hub.records))

    @property
    def open_connections(self) -> list[ConnectionRecord]:
        """The connections that are open."""
        return [record for record in self.connections if record.closed_ms is None]

    @property
    def refused(self) -> list[RefusedHandshake]:
        """All handshakes that were refused."""
        return self._ask(lambda: list(self._hub.refused))

    def frames_sent(self, stream: str) -> int:
        """Return how many events of `stream` were sent, over all connections."""
        return self._ask(lambda: sum((record.frames for record in self._hub.records), Counter())[stream])

    def abort(self, number: int | None = None) -> int:
        """Tear connection `number`, or all that are open, at once; return how many."""
        return self._ask(lambda: self._each(number, StreamConnection.abort))

    def close(self, code: int, number: int | None = None) -> int:
        """Close connection `number`, or all that are open, with `code`; return how many."""
        return self._ask(lambda: self._each(number, lambda connection: connection.close(code)))

    def _each(self, number: int | None, act: Callable[[StreamConnection], None]) -> int:
        chosen = [
            connection
            for connection, delivery in self._hub.deliveries.items()
            if number in (None, delivery.record.number)
        ]
        for connection in chosen:
            act(connection)
        return len(chosen)

    def _ask(self, question: Callable[[], T]) -> T:
        """Return the answer of the server's own thread, which alone touches the hub."""
        loop = self._loop
        if loop is None:
            return question()
        answer: Future[T] = Future()

        def give() -> None:
            try:
                answer.set_result(question())
            except BaseException as error:
                answer.set_exception(error)

        loop.call_soon_threadsafe(give)
        return answer.result(_START_S)

    def _run(self, is_ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(is_ready))
        except BaseException as error:
            self._failure = error
            raise
        finally:
            is_ready.set()

    async def _serve(self, is_ready: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        servers = []
        for market, port in self._ports.items():
            accept = partial(StreamConnection, market, self._hub)
            server = await loop.create_server(accept, "127.0.0.1", port, backlog=512)
            servers.append(server)
            self._ports[market] = server.sockets[0].getsockname()[1]
        self._loop = loop
        is_ready.set()
        polls = 0
        while not self._stop.is_set():
            polls += 1
            self._hub.tick()
            if polls % _BEAT_EVERY == 0:
                self._hub.beat()
            await asyncio.sleep(_POLL_S)
        for server in servers:
            server.close()
        self._each(None, StreamConnection.abort)
        await asyncio.sleep(0)  # the aborted connections are told
