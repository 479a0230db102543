"""One WebSocket connection. Everything that websockets can raise becomes a call of `SocketEvents` here."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidProxy, InvalidStatus, WebSocketException

from core.errors import ConfigurationError

_OPEN_TIMEOUT_S = 10
_CLOSE_TIMEOUT_S = 2  # for the closing handshake; then the socket is dropped
_MAX_FRAME_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class SocketEvents:
    """What a socket reports, in the thread of the event loop."""

    opened: Callable[[], None]
    refused: Callable[[int | None, float | None, str], None]  # status, seconds of Retry-After, why
    frame: Callable[[bytes], None]
    closed: Callable[[int | None, str], None]  # the code of the close frame, why


def trusted_certificates() -> ssl.SSLContext:
    """Return whose certificates hosts may have: those that this machine trusts, and those that HTTP requests trust.

    REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE hold as they do for requests. Raises ConfigurationError.
    """
    context = ssl.create_default_context()
    place = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    try:
        if Path(place).is_dir():
            context.load_verify_locations(capath=place)
        else:
            context.load_verify_locations(cafile=place)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(
            f"the certificates in {place} cannot be read ({error}): correct REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
        ) from error
    return context


class StreamSocket:
    """Connects once, hands over frames, sends texts in order, and ends. Proxies come from the environment."""

    def __init__(self, url: str, tls: ssl.SSLContext | None, events: SocketEvents) -> None:
        self._url = url
        self._tls = tls
        self._events = events
        self._to_send: asyncio.Queue[str] = asyncio.Queue()
        self._connection: ClientConnection | None = None
        self._is_closed = asyncio.Event()

    def send(self, text: str) -> None:
        """Send `text` after those before it."""
        self._to_send.put_nowait(text)

    def close(self, *, is_dead: bool) -> None:
        """Close the connection, or give up connecting; nothing is reported from now on.

        One that is dead is dropped: it would not answer.
        """
        self._is_closed.set()
        if is_dead and self._connection is not None:
            self._connection.transport.abort()

    async def run(self) -> None:
        """Connect and stay until the connection has ended. Raises nothing of the network."""
        work = asyncio.ensure_future(self._connect_and_read())
        closing = asyncio.ensure_future(self._is_closed.wait())
        try:
            await asyncio.wait({work, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and self._connection is not None:
                await self._connection.close()
        finally:
            closing.cancel()
            work.cancel()
            [result] = await asyncio.gather(work, return_exceptions=True)
        if isinstance(result, Exception):
            raise result

    async def _connect_and_read(self) -> None:
        try:
            self._connection = await self._connect()
        except InvalidStatus as refusal:
            answer = refusal.response
            seconds = _number(answer.headers.get("Retry-After"))
            self._report_refused(answer.status_code, seconds, f"HTTP {answer.status_code}")
            return
        except (InvalidProxy, ValueError) as error:  # their texts may have the proxy's password in them
            why = error.msg if isinstance(error, InvalidProxy) else "its address cannot be read"
            self._report_refused(None, None, f"the proxy that the environment names cannot be used: {why}")
            return
        except (OSError, TimeoutError, WebSocketException, ImportError) as error:
            # ImportError: a SOCKS proxy needs python-socks.
            self._report_refused(None, None, f"{type(error).__name__}: {error}")
            return
        if self._is_closed.is_set():
            return
        self._events.opened()
        sending = asyncio.ensure_future(self._send_all(self._connection))
        try:
            await self._read_all(self._connection)
        except ConnectionClosed as end:
            if not self._is_closed.is_set():
                self._events.closed(end.rcvd.code if end.rcvd is not None else None, str(end))
        finally:
            sending.cancel()

    async def _connect(self) -> ClientConnection:
        # No pings of our own: on some exchanges they count as messages, and an answer to them proves nothing.
        # No bound for frames that wait: they are taken at once, and a reader that pauses is cut off by the exchange.
        return await connect(
            self._url,
            ssl=self._tls,
            compression=None,
            max_queue=None,
            max_size=_MAX_FRAME_BYTES,
            ping_interval=None,
            open_timeout=_OPEN_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            user_agent_header="ohlcv-data-fetcher",
        )

    async def _read_all(self, connection: ClientConnection) -> None:
        read, take, is_closed = connection.recv, self._events.frame, self._is_closed.is_set
        while True:
            frame = await read(decode=False)
            if is_closed():
                continue
            take(frame)

    async def _send_all(self, connection: ClientConnection) -> None:
        try:
            while True:
                await connection.send(await self._to_send.get())
        except ConnectionClosed:
            return  # the reader reports it

    def _report_refused(self, status: int | None, retry_after_s: float | None, why: str) -> None:
        if not self._is_closed.is_set():
            self._events.refused(status, retry_after_s, f"{self._url}: {why}")


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None
