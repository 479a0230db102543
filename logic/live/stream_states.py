"""What each stream is doing: live, silent, how often it was cut, its newest closed candle. Thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from core.stream_activity import StreamState
from core.streams import StreamKey


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """What is known of one stream. Times are epoch ms by the exchange's clock."""

    state: StreamState = StreamState.CONNECTING
    why_silent: str = ""
    silent_since_ms: int | None = None
    is_cut: bool = False  # it may have lost frames, and has not delivered since
    cuts: int = 0
    errors: int = 0  # frames that could not be used
    closed_ms: int | None = None  # open time of the newest closed candle that came
    price: str | None = None  # its close


class StreamStates:
    """The records of all streams; one that was never told of is connecting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[StreamKey, StreamRecord] = {}

    def went_live(self, key: StreamKey) -> StreamRecord:
        """Note that a stream delivers; return what was known before."""
        with self._lock:
            before = self._of(key)
            self._records[key] = replace(
                before, state=StreamState.LIVE, why_silent="", silent_since_ms=None, is_cut=False
            )
        return before

    def went_silent(self, key: StreamKey, why: str, now_ms: int) -> None:
        """Note that a stream delivers nothing, whatever was tried."""
        with self._lock:
            self._records[key] = replace(
                self._of(key), state=StreamState.SILENT, why_silent=why, silent_since_ms=now_ms
            )

    def were_cut(self, keys: Iterable[StreamKey]) -> None:
        """Note that streams may have lost frames and have to deliver anew."""
        with self._lock:
            for key in keys:
                known = self._of(key)
                state = StreamState.CONNECTING if known.state is StreamState.LIVE else known.state
                self._records[key] = replace(known, state=state, is_cut=True, cuts=known.cuts + 1)

    def closed(self, key: StreamKey, open_ms: int, price: str) -> None:
        """Note a closed candle; an older one than the newest changes nothing."""
        with self._lock:
            known = self._of(key)
            if known.closed_ms is None or open_ms >= known.closed_ms:
                self._records[key] = replace(known, closed_ms=open_ms, price=price)

    def unusable(self, key: StreamKey) -> None:
        """Count a frame that could not be used."""
        with self._lock:
            known = self._of(key)
            self._records[key] = replace(known, errors=known.errors + 1)

    def forget(self, keys: Iterable[StreamKey]) -> None:
        """Forget streams that are not wanted any more."""
        with self._lock:
            for key in keys:
                self._records.pop(key, None)

    def all(self) -> dict[StreamKey, StreamRecord]:
        """Return the records as they are now."""
        with self._lock:
            return dict(self._records)

    def _of(self, key: StreamKey) -> StreamRecord:
        return self._records.get(key, StreamRecord())
