"""From a stream's frame to one connection, with the faults that a script has for it."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

from demo.stream_connection import Mode, StreamConnection
from demo.stream_faults import (
    Abort,
    AlterFrame,
    CloseWith,
    ConnectionFault,
    Damage,
    DamageFrame,
    DoubleFrame,
    DropFrame,
    FrameFault,
    HalfOpen,
    LateFrame,
    ShutDown,
    Silence,
    Slow,
    StreamFaultScript,
    SwapFrame,
)
from demo.stream_frames import StreamFrame, text_frame
from demo.stream_names import SHUTDOWN_STREAM, Route
from demo.stream_records import ConnectionRecord

PutOff = Callable[[int, Callable[[], None]], None]
"""Do something when the replay clock shows an instant (epoch ms)."""


class Delivery:
    """What one connection gets."""

    def __init__(
        self,
        connection: StreamConnection,
        record: ConnectionRecord,
        route: Route | None,
        faults: StreamFaultScript,
        put_off: PutOff,
    ) -> None:
        self.record = record
        self.route = route
        self._connection = connection
        self._faults = faults
        self._put_off = put_off
        self._sent = 0
        self._delay_ms = 0
        self._held: StreamFrame | None = None

    def deliver(self, frame: StreamFrame, now_ms: int) -> None:
        """Send `frame`, or do with it what the script says."""
        if self._faults.has_any:
            self.meet_fault(now_ms)
        if self._connection.mode is not Mode.OPEN:
            return
        if self._faults.has_any:
            record = self.record
            fault = self._faults.take_frame(
                record.market, record.path, record.number, (frame.stream, frame.is_final), now_ms
            )
            if fault is not None:
                self._act_on(frame, fault, now_ms)
                return
        self._send(frame, now_ms)

    def meet_fault(self, now_ms: int) -> None:
        """Do what the script has for this connection now."""
        if self._faults.has_any:
            record = self.record
            fault = self._faults.take_connection(record.market, record.path, record.number, self._sent, now_ms)
            if fault is not None:
                self._act(fault, now_ms)

    def _act(self, fault: ConnectionFault, now_ms: int) -> None:
        connection = self._connection
        match fault:
            case Abort():
                connection.abort()
            case HalfOpen():
                connection.mode = Mode.HALF_OPEN
            case Silence(pongs):
                connection.mode = Mode.SILENT if pongs else Mode.DEAF
            case CloseWith(code, reason):
                connection.close(code, reason)
            case ShutDown(lead_ms, code):
                if SHUTDOWN_STREAM in self.record.streams:
                    event = orjson.dumps({"e": "serverShutdown", "E": now_ms})
                    self._send(StreamFrame(SHUTDOWN_STREAM, event), now_ms)
                self._put_off(now_ms + lead_ms, lambda: connection.close(code))
            case Slow(delay_ms):
                self._delay_ms = delay_ms

    def _act_on(self, frame: StreamFrame, fault: FrameFault, now_ms: int) -> None:
        match fault:
            case DropFrame():
                return
            case DoubleFrame():
                self._send(frame, now_ms)
                self._send(frame, now_ms)
            case LateFrame(by_ms):
                self._put_off(now_ms + by_ms, lambda: self._send(frame, now_ms + by_ms))
            case SwapFrame():
                self._held = frame
            case AlterFrame():
                self._send(frame.altered(fault), now_ms)
            case DamageFrame():
                self._queue(_damaged(frame, fault, self._connection.subscriptions.combined), frame.stream, now_ms)

    def _send(self, frame: StreamFrame, now_ms: int) -> None:
        self._queue(frame.wire(self._connection.subscriptions.combined), frame.stream, now_ms)
        if self._held is not None:
            held, self._held = self._held, None
            self._send(held, now_ms)

    def _queue(self, data: bytes, stream: str, now_ms: int) -> None:
        self._sent += 1
        self.record.frames[stream] += 1
        if self._delay_ms:
            self._put_off(now_ms + self._delay_ms, lambda: self._connection.queue(data))
        else:
            self._connection.queue(data)


def _damaged(frame: StreamFrame, fault: DamageFrame, combined: bool) -> bytes:
    text = fault(frame.text(combined))
    if fault.how is Damage.BINARY:
        return WireFrame(Opcode.BINARY, text).serialize(mask=False)
    # Cut in the middle of a letter that takes several bytes, it would not even be a text frame.
    return text_frame(text.decode(errors="ignore").encode())
