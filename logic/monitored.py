"""What the live streams are doing, by what they say in the database and by the ledger. Read-only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.series import Series
from core.stream_activity import StreamState
from core.stream_kinds import StreamKind
from core.times import iso_ms
from core.wanted import Wanted
from db.catalog import load_catalog
from db.connection import Database
from db.exchange_clock import load_exchange_now_ms
from db.ledger import load_newest_coverage
from db.live_status import SessionRow, StreamRow, load_sessions
from logic.stored import choose_series

# A candle is committed within seconds of its end: at two intervals behind, one has not come.
_LAGGING_INTERVALS = 2


@dataclass(frozen=True, slots=True)
class MonitoredStream:
    """A stream, and how far what is stored of it lies behind."""

    row: StreamRow
    lag_ms: int | None  # since the end of what the ledger covers; None: no candles, or nothing is covered

    @property
    def trouble(self) -> str | None:
        """What is wrong with it, or None."""
        if self.row.state is StreamState.SILENT:
            return "delivers nothing, its candles are asked for by REST"
        if self.row.state is StreamState.CONNECTING and self.row.last_event_ms is None:
            return "has not delivered yet"
        if self.lag_ms is not None and self.row.key.interval is not None:
            behind = self.lag_ms / self.row.key.interval.typical_ms
            if behind > _LAGGING_INTERVALS:
                return f"what is stored lies {behind:.0f} candles behind"
        return None


@dataclass(frozen=True, slots=True)
class MonitoredSession:
    """A process that streams, or the last one that did."""

    row: SessionRow
    streams: Sequence[MonitoredStream]

    @property
    def trouble(self) -> str | None:
        """What is wrong with the process, or None."""
        where = f"the stream on {self.row.host} (process {self.row.pid})"
        if self.row.is_alive:
            return None
        if self.row.ended_ms is not None:
            return f"no stream is running: {where} ended {iso_ms(self.row.ended_ms)}"
        return f"no stream is running: {where} has died, its last sign is of {iso_ms(self.row.heartbeat_ms)}"


@dataclass(frozen=True, slots=True)
class Monitored:
    """All that is streamed into a database."""

    sessions: Sequence[MonitoredSession] = ()

    @property
    def alive(self) -> list[MonitoredSession]:
        """The processes that stream now."""
        return [one for one in self.sessions if one.row.is_alive]

    @property
    def live(self) -> int:
        """How many streams deliver."""
        states = [stream.row.state for one in self.alive for stream in one.streams]
        return sum(state in (StreamState.LIVE, StreamState.HEALING, StreamState.SYNCING) for state in states)

    @property
    def died(self) -> list[str]:
        """That the last process has died without a word, where none runs in its place."""
        if self.alive:
            return []
        return [one.trouble for one in self.sessions if one.trouble is not None and one.row.ended_ms is None]

    @property
    def is_well(self) -> bool:
        """Whether a process streams, and all its streams are live and kept up with."""
        return bool(self.alive) and all(stream.trouble is None for one in self.alive for stream in one.streams)


def read_monitored(database: Database, wanted: Wanted | None) -> Monitored:
    """Return what is streamed; with `wanted` only those series, and other data of their symbols.

    Raises ConfigurationError for a series that is not in the catalog.
    """
    with database.transaction("read what is streamed") as tx:
        sessions = load_sessions(tx)
        catalog = load_catalog(tx)
        chosen = {row.series for row in choose_series(tx, wanted)} if wanted is not None else None
        ids = {row.series: row.id for row in catalog}
        coverage = load_newest_coverage(tx, [*ids.values()])
        markets = {(row.series.exchange, row.series.market) for row in catalog}
        now_ms = {market: load_exchange_now_ms(tx, *market) for market in markets}
    covered = {series: coverage[series_id].until_ms for series, series_id in ids.items() if series_id in coverage}
    lags = {one: max(0, now_ms[one.exchange, one.market] - until_ms) for one, until_ms in covered.items()}
    return Monitored([MonitoredSession(one, _streams(one.streams, chosen, lags)) for one in sessions])


def _streams(
    rows: Sequence[StreamRow], chosen: set[Series] | None, lags: Mapping[Series, int]
) -> list[MonitoredStream]:
    found = []
    for row in rows:
        is_candles = row.key.kind is StreamKind.KLINE
        if chosen is not None:
            is_meant = (
                row.key.series in chosen if is_candles else any(one.instrument == row.key.instrument for one in chosen)
            )
            if not is_meant:
                continue
        found.append(MonitoredStream(row, lags.get(row.key.series) if is_candles else None))
    return found
