"""The figures of a live service: what comes, how fast it is read and stored, what waits, what was lost and healed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from core.instrument import Market
from core.latencies import Latencies
from core.stream_activity import Recent, StreamActivity, StreamState
from core.streams import StreamKey
from core.times import MS_PER_MINUTE
from logic.live.counters import LiveCounters
from logic.live.healer import Healer
from logic.live.stream_states import StreamRecord, StreamStates

_SHORT_MS, _LONG_MS = MS_PER_MINUTE, 15 * MS_PER_MINUTE


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Latencies of about the last fifteen minutes, ms; None where there was none."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, latencies: Latencies) -> Percentiles:
        """Return those of `latencies`."""
        return cls(*(latencies.percentile(share) for share in (0.5, 0.95, 0.99)))

    def plus(self, ms: float) -> Percentiles:
        """Return the same by a clock that is `ms` ahead."""
        return Percentiles(*(None if one is None else one + ms for one in (self.p50, self.p95, self.p99)))


@dataclass(frozen=True, slots=True)
class KindStatistics:
    """The frames of one kind of data."""

    frames: int  # since the start
    per_second: float  # of the last minute
    per_second_15m: float
    bytes_per_second: float
    bytes_per_second_15m: float
    latency: Percentiles  # from the exchange's event time to the reading, by the exchange's clock
    latency_by_own_clock: Percentiles  # the same by this machine's


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One stream. Times are epoch ms by the exchange's clock."""

    key: StreamKey
    state: StreamState
    record: StreamRecord
    messages: int
    per_second: float  # of the last minute
    last_event_ms: int | None
    latency_p95_ms: float | None
    heals: int


@dataclass(frozen=True, slots=True)
class LiveStatistics:
    """A live service at one moment."""

    by_kind: Mapping[str, KindStatistics] = field(default_factory=dict)
    to_commit: Percentiles = field(default_factory=Percentiles)  # from reading a final frame to its committed row
    # By market: how far the exchange's clock is ahead of this machine's.
    clock_offset_ms: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0  # closed candles that wait for the database
    healing: int = 0  # series that wait for a heal or are being healed
    streams: Sequence[StreamFigures] = ()
    counts: Mapping[str, object] = field(default_factory=dict)  # since the start


@dataclass(frozen=True, slots=True)
class Watched:
    """What statistics are made of. All of it may be read from any thread."""

    wanted: Callable[[], Mapping[StreamKey, int | None]]  # the streams, those of candles with their series' id
    activity: Callable[[], Mapping[StreamKey, StreamActivity]]
    states: StreamStates
    healer: Healer
    counters: LiveCounters
    waiting: Callable[[], int]
    local_now_ms: Callable[[], int]
    market_now_ms: Callable[[Market], int]
    syncing: Callable[[], Collection[StreamKey]]  # order books


class Statistics:
    """Looks at a service every now and then; for one thread, but for `newest`."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        now_ms = watched.local_now_ms()
        self._frames: Recent[str] = Recent(now_ms, _LONG_MS)
        self._bytes: Recent[str] = Recent(now_ms, _LONG_MS)
        self._of_streams: Recent[StreamKey] = Recent(now_ms, _SHORT_MS)
        self._latencies: deque[tuple[int, dict[str, Latencies]]] = deque([(now_ms, {})])
        self.newest = self._made({}, {}, now_ms)

    def look(self) -> LiveStatistics:
        """Return the figures of now, which are the newest ones from then on."""
        now_ms = self._watched.local_now_ms()
        activity = self._watched.activity()
        frames: Counter[str] = Counter()
        size: Counter[str] = Counter()
        by_kind: dict[str, list[Latencies]] = {}
        for key, one in activity.items():
            frames[key.kind] += one.frames
            size[key.kind] += one.bytes
            by_kind.setdefault(key.kind.value, []).append(one.latencies)
        self._frames.note(now_ms, frames)
        self._bytes.note(now_ms, size)
        self._of_streams.note(now_ms, {key: one.frames for key, one in activity.items()})
        latencies = {kind: Latencies.together(several) for kind, several in by_kind.items()}
        latencies["commit"] = Latencies.together([self._watched.counters.to_commit])
        self._latencies.append((now_ms, latencies))
        while len(self._latencies) > 2 and self._latencies[1][0] <= now_ms - _LONG_MS:
            self._latencies.popleft()
        self.newest = self._made(activity, frames, now_ms)
        return self.newest

    def _recent(self, name: str) -> Percentiles:
        begin, newest = self._latencies[0][1].get(name), self._latencies[-1][1].get(name)
        if newest is None:
            return Percentiles()
        return Percentiles.of(newest if begin is None else newest.since(begin))

    def _made(
        self, activity: Mapping[StreamKey, StreamActivity], frames: Mapping[str, int], now_ms: int
    ) -> LiveStatistics:
        watched = self._watched
        markets = {key.market for key in watched.wanted()}
        offsets = {market: watched.market_now_ms(market) - watched.local_now_ms() for market in markets}
        own_clock_ms = -sum(offsets.values()) / len(offsets) if offsets else 0.0
        kinds = {}
        for kind, count in frames.items():
            latency = self._recent(kind)
            kinds[str(kind)] = KindStatistics(
                count,
                self._frames.per_second(kind, _SHORT_MS),
                self._frames.per_second(kind, _LONG_MS),
                self._bytes.per_second(kind, _SHORT_MS),
                self._bytes.per_second(kind, _LONG_MS),
                latency,
                latency.plus(own_clock_ms),
            )
        return LiveStatistics(
            kinds,
            self._recent("commit"),
            {market.value: offset for market, offset in offsets.items()},
            watched.waiting(),
            watched.healer.waiting,
            self._streams(activity),
            _counts(watched.counters),
        )

    def _streams(self, activity: Mapping[StreamKey, StreamActivity]) -> list[StreamFigures]:
        watched = self._watched
        healing, records, syncing = watched.healer.series_ids, watched.states.all(), set(watched.syncing())
        found = []
        for key, series_id in watched.wanted().items():
            record, heard = records.get(key, StreamRecord()), activity.get(key, StreamActivity(key))
            state = record.state
            if state is StreamState.LIVE and (series_id in healing or key in syncing):
                state = StreamState.SYNCING if key in syncing else StreamState.HEALING
            found.append(
                StreamFigures(
                    key,
                    state,
                    record,
                    heard.frames,
                    self._of_streams.per_second(key, _SHORT_MS),
                    heard.last_ms or None,
                    heard.latencies.percentile(0.95),
                    0 if series_id is None else watched.healer.heals_of(series_id),
                )
            )
        return found


def _counts(done: LiveCounters) -> dict[str, object]:
    return {
        "stored": done.stored,
        "healed": done.healed,
        "conflicts": done.conflicts,
        "dropped": done.dropped,
        "unusable_frames": dict(done.unusable),
        "reconnects": dict(done.reconnects),
    }


def statistics_document(statistics: LiveStatistics) -> dict[str, object]:
    """Return the figures of the whole service as JSON: times in ms, to a tenth."""
    return {
        "kinds": {
            kind: {
                "frames": one.frames,
                "frames_per_second": round(one.per_second, 1),
                "frames_per_second_15m": round(one.per_second_15m, 1),
                "bytes_per_second": round(one.bytes_per_second),
                "bytes_per_second_15m": round(one.bytes_per_second_15m),
                "latency_ms": _percentiles(one.latency),
                "latency_by_own_clock_ms": _percentiles(one.latency_by_own_clock),
            }
            for kind, one in statistics.by_kind.items()
        },
        "to_commit_ms": _percentiles(statistics.to_commit),
        "clock_offset_ms": dict(statistics.clock_offset_ms),
        "waiting": statistics.waiting,
        "healing": statistics.healing,
        "counts": dict(statistics.counts),
    }


def _percentiles(one: Percentiles) -> dict[str, object]:
    return {
        name: None if ms is None else round(ms, 1)
        for name, ms in (("p50", one.p50), ("p95", one.p95), ("p99", one.p99))
    }
