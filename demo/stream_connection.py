"""One stream connection: handshake, requests, pings and closing. What is sent over it is the hub's to say."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from core.instrument import Market
from demo.stream_faults import RefuseHandshake
from demo.stream_frames import text_frame
from demo.stream_limits import HEART_RULES, LIFE_MS, Heart, MessageLimit
from demo.stream_paths import asked_for
from demo.stream_records import ConnectionRecord
from demo.stream_requests import Subscriptions, answer_request

if TYPE_CHECKING:
    from demo.stream_hub import StreamHub

_LARGEST_BACKLOG = 64 * 1024 * 1024  # bytes; a client that reads so slowly is cut off
_CLOSE_S = 2.0  # real time; how long a client's answer to a close is waited for


class Mode(Enum):
    """What a connection still does."""

    OPEN = auto()
    SILENT = auto()  # no data
    DEAF = auto()  # no data, no pings, no pongs
    HALF_OPEN = auto()  # requests are acknowledged, nothing else is done, not even closed


class StreamConnection(asyncio.Protocol):
    """Lives in the server's event loop; `record` tells what happened."""

    def __init__(self, market: Market, hub: StreamHub) -> None:
        self.market = market
        self.mode = Mode.OPEN
        self.record: ConnectionRecord | None = None  # None until the handshake is accepted
        self.subscriptions = Subscriptions({}, combined=False)
        self._hub = hub
        self._rules = HEART_RULES[market]
        self._heart = Heart(self._rules, hub.now_ms())
        self._limit = MessageLimit(self._rules.messages_per_second)
        self._protocol = ServerProtocol()
        self._text = bytearray()
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._shake_hands(event)
            elif isinstance(event, WireFrame):
                self._take(event)
        self._send_protocol_data()

    def eof_received(self) -> bool:
        """Return whether the connection stays open although the client has closed its side."""
        self._protocol.receive_eof()
        return self.mode is Mode.HALF_OPEN

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        if self.record is not None and self.record.closed_ms is None:
            self.record.closed_ms = self._hub.now_ms()
            close = self._protocol.close_sent or self._protocol.close_rcvd
            self.record.close_code = 1006 if close is None else close.code
            self._hub.closed(self)

    def queue(self, data: bytes) -> None:
        """Send `data` (whole frames) with the next `flush`."""
        self._out.append(data)

    def flush(self) -> None:
        """Send what is queued, in one write."""
        if self._out and self._protocol.state is State.OPEN:
            self._transport.write(b"".join(self._out))
            if self._transport.get_write_buffer_size() > _LARGEST_BACKLOG:
                self.abort()
        self._out.clear()

    def close(self, code: int, reason: str = "") -> None:
        """Close with a frame; a client that does not answer is cut off after two seconds."""
        if self._protocol.state is State.OPEN:
            self.flush()
            self._protocol.send_close(code, reason)
            self._send_protocol_data()
            asyncio.get_running_loop().call_later(_CLOSE_S, self._transport.abort)

    def abort(self) -> None:
        """Tear the connection with a TCP reset."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None and not self._transport.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def beat(self, now_ms: int, opened_ms: int) -> None:
        """Ping when it is time; close when a pong is overdue or the connection has reached its age."""
        if self.mode in (Mode.DEAF, Mode.HALF_OPEN) or self._protocol.state is not State.OPEN:
            return
        real_s = time.monotonic()
        if now_ms - opened_ms >= LIFE_MS:
            self.close(1001, "connection reached its age of 24 hours")
        elif self._heart.is_lost(now_ms, real_s):
            self.close(1008, "Pong timeout")
        elif payload := self._heart.ping(now_ms, real_s):
            self._protocol.send_ping(payload)
            self._send_protocol_data()

    def _shake_hands(self, request: Request) -> None:
        path = unquote(request.path)
        asked = asked_for(self.market, path)
        refusal = self._hub.refusal(self.market, path)
        if refusal is not None or asked is None:
            refusal = refusal or RefuseHandshake(404)
            self._hub.refuse(self.market, path, refusal)
            self._protocol.send_response(_refused(self._protocol, refusal))
            return
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        if self._protocol.state is State.OPEN:  # taken in before the client knows: what it does next finds it there
            self._hub.opened(self, path, asked)
            self._send_protocol_data()
            self._hub.begin(self)

    def _take(self, frame: WireFrame) -> None:
        if self.record is None:
            return
        is_request = frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
        if is_request or (self._rules.counts_pings and frame.opcode in (Opcode.PING, Opcode.PONG)):
            self.record.messages += 1
            if self._limit.is_exceeded_by_one_more(self._hub.now_ms(), time.monotonic()):
                self.close(1008, "Too many requests")
                return
        if frame.opcode is Opcode.PONG:
            self._heart.pong(bytes(frame.data))
        elif is_request:
            self._text += frame.data
            if frame.fin:
                text, self._text = bytes(self._text), bytearray()
                self._answer(text)

    def _answer(self, text: bytes) -> None:
        answer = answer_request(text, self.subscriptions)
        if self.subscriptions.are_too_many:
            self.close(1008, "Too many streams")
            return
        self._hub.subscribe(self)
        self._out.append(text_frame(answer))
        self.flush()

    def _send_protocol_data(self) -> None:
        for data in self._protocol.data_to_send():
            if self.mode in (Mode.DEAF, Mode.HALF_OPEN):
                continue  # no pong, no answer to a close
            if data:
                self._transport.write(data)
            else:
                self._transport.close()


def _refused(protocol: ServerProtocol, refusal: RefuseHandshake) -> Response:
    response = protocol.reject(refusal.status, refusal.body)
    if refusal.retry_after_s is not None:
        response.headers["Retry-After"] = str(refusal.retry_after_s)
    return response
