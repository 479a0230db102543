"""One event of one stream, encoded once for all connections that get it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

NEVER_MS = 2**62


class StreamFrame:
    """The event of a stream as JSON text, and as bytes on the wire in both forms, made when first asked for."""

    __slots__ = ("_raw", "_wrapped", "is_final", "payload", "stream")

    def __init__(self, stream: str, payload: bytes, is_final: bool = False) -> None:
        self.stream = stream
        self.payload = payload
        self.is_final = is_final  # the last of a candle
        self._raw = self._wrapped = b""

    def wire(self, combined: bool) -> bytes:
        """Return the bytes that a server sends: `{"stream":...,"data":...}` when `combined`, else the event alone."""
        if combined:
            self._wrapped = self._wrapped or text_frame(self.text(combined))
            return self._wrapped
        self._raw = self._raw or text_frame(self.payload)
        return self._raw

    def text(self, combined: bool) -> bytes:
        """Return what a client reads."""
        return b'{"stream":"%s","data":%s}' % (self.stream.encode(), self.payload) if combined else self.payload

    def altered(self, change: Callable[[bytes], bytes]) -> StreamFrame:
        """Return another frame of the same stream, its event passed through `change`."""
        return StreamFrame(self.stream, change(self.payload), self.is_final)


def text_frame(text: bytes) -> bytes:
    """Return `text` as a server's WebSocket frame."""
    return WireFrame(Opcode.TEXT, text).serialize(mask=False)


class Channel(Protocol):
    """Where the frames of one stream come from, by the replay clock."""

    next_ms: int
    """When the next frame is due; NEVER_MS for none."""

    def restart(self, now_ms: int) -> None:
        """Begin at `now_ms`: what was due before is not sent."""

    def due(self, now_ms: int) -> list[StreamFrame]:
        """Return the frames that are due up to `now_ms`, in order, and move `next_ms` behind it."""
