"""Recorded sessions of the exchange's streams as a source: their frames, at their times."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import orjson

from core.instrument import Market
from demo.stream_frames import NEVER_MS, Channel, StreamFrame
from demo.stream_names import StreamName

_LONGEST_SECONDS = 100_000_000_000
"""Receive times below this are in seconds, above in nanoseconds."""


class RecordedChannel:
    """The frames of one recorded stream, each when it was received, by the replay clock."""

    def __init__(self, frames: list[tuple[int, StreamFrame]]) -> None:
        self._frames = frames
        self._position = 0
        self.next_ms = 0
        self.restart(0)

    def restart(self, now_ms: int) -> None:
        """Begin with what was received at `now_ms` or later."""
        self._position = next((n for n, (ms, _) in enumerate(self._frames) if ms >= now_ms), len(self._frames))
        self._wait()

    def due(self, now_ms: int) -> list[StreamFrame]:
        """Return the frames received up to `now_ms`."""
        first = self._position
        while self._position < len(self._frames) and self._frames[self._position][0] <= now_ms:
            self._position += 1
        self._wait()
        return [frame for _, frame in self._frames[first : self._position]]

    def _wait(self) -> None:
        more = self._position < len(self._frames)
        self.next_ms = self._frames[self._position][0] if more else NEVER_MS


class RecordedSession:
    """One session of one market, to be given to a stream server in the place of what is generated.

    Read are text files, gzipped or not, of lines `<receive time><space or colon><combined frame>`; other
    lines are passed over. Raises ValueError when there is no frame in it.
    """

    def __init__(self, path: Path, market: Market) -> None:
        self.market = market
        self._streams: dict[str, list[tuple[int, StreamFrame]]] = defaultdict(list)
        for at_ms, name, payload in _frames_of(path):
            self._streams[name].append((at_ms, StreamFrame(name, payload, b'"x":true' in payload)))
        if not self._streams:
            raise ValueError(f"{path} holds no combined frame")

    @property
    def names(self) -> dict[str, int]:
        """The streams that were recorded, and how many frames each has."""
        return {name: len(frames) for name, frames in self._streams.items()}

    @property
    def span(self) -> tuple[int, int]:
        """When the first and the last frame were received, epoch ms."""
        times = [at_ms for frames in self._streams.values() for at_ms, _ in (frames[0], frames[-1])]
        return min(times), max(times)

    def __call__(self, market: Market, name: StreamName) -> Channel:
        """Return the channel of a recorded stream; one that was not recorded is silent."""
        return RecordedChannel(self._streams.get(name.text, []) if market is self.market else [])


def _frames_of(path: Path) -> Iterator[tuple[int, str, bytes]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in content.splitlines():
        start = line.find(b'{"stream":')
        if start < 0:
            continue
        message = orjson.loads(line[start:])
        received = float(line[:start].strip(b" :"))
        seconds = received if received < _LONGEST_SECONDS else received / 1e9
        # The event as it was written, not written anew: digits and spaces are the exchange's.
        payload = line[line.index(b'"data":', start) + len(b'"data":') : line.rindex(b"}")]
        yield int(seconds * 1000), message["stream"], payload
