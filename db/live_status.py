"""`public.stream_sessions` and `public.stream_status`: which processes stream what, with a heartbeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2.extras import Json, execute_values

from core.errors import ConfigurationError
from core.instrument import Instrument
from core.intervals import INTERVALS
from core.series import make_series
from core.stream_activity import StreamState
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from core.times import from_datetime, to_datetime
from db.connection import Transaction, fetch_one, named_rows

HEARTBEAT_MS = 10_000
_DEAD_AFTER = "interval '25 seconds'"  # two heartbeats and a half: a reader sees it within thirty
_KEPT = "interval '7 days'"


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One stream of a session. Times are epoch ms, by the exchange's clock."""

    key: StreamKey
    state: StreamState
    last_event_ms: int | None
    last_closed_ms: int | None  # open time of the newest closed candle that came
    last_price: str | None
    messages: int
    per_second: float
    latency_p95_ms: float | None
    reconnects: int
    heals: int
    errors: int
    silent_since_ms: int | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One process that streams, or did."""

    id: str
    host: str
    pid: int
    started_ms: int  # by the database server's clock, as the others
    heartbeat_ms: int
    ended_ms: int | None
    is_alive: bool  # it has not ended and its heart has beaten lately
    settings: Mapping[str, object]
    statistics: Mapping[str, object]
    streams: tuple[StreamRow, ...] = ()


def is_streaming(tx: Transaction) -> bool:
    """Whether a process streams into this database now."""
    tx.cursor.execute(
        "select exists (select from public.stream_sessions"
        f" where ended_at is null and heartbeat_at > clock_timestamp() - {_DEAD_AFTER})"
    )
    return bool(fetch_one(tx)[0])


def begin_session(tx: Transaction, session_id: str, host: str, pid: int, settings: Mapping[str, object]) -> None:
    """Enter a process that begins to stream; forget those that ended or died a week ago."""
    tx.cursor.execute(
        f"delete from public.stream_sessions where id = %s or heartbeat_at < clock_timestamp() - {_KEPT};"
        " insert into public.stream_sessions (id, host, pid, settings) values (%s, %s, %s, %s)",
        (session_id, session_id, host, pid, Json(dict(settings))),
    )


def beat(tx: Transaction, session_id: str, statistics: Mapping[str, object], is_ended: bool = False) -> bool:
    """Note that a session lives, or has ended; return whether it is still known."""
    tx.cursor.execute(
        "update public.stream_sessions set heartbeat_at = clock_timestamp(), statistics = %s,"
        " ended_at = case when %s then clock_timestamp() end where id = %s",
        (Json(dict(statistics)), is_ended, session_id),
    )
    return tx.cursor.rowcount == 1


def write_streams(tx: Transaction, session_id: str, rows: Sequence[StreamRow]) -> None:
    """Make `rows` the streams of a session."""
    values = [
        (
            session_id,
            *_key_columns(one.key),
            one.state.value,
            _datetime(one.last_event_ms),
            _datetime(one.last_closed_ms),
            one.last_price,
            one.messages,
            one.per_second,
            one.latency_p95_ms,
            one.reconnects,
            one.heals,
            one.errors,
            _datetime(one.silent_since_ms),
        )
        for one in rows
    ]
    names = (
        "state, last_event_at, last_closed_open_time, last_price, messages, messages_per_second, latency_p95_ms,"
        " reconnects, heals, errors, silent_since"
    )
    taken = ", ".join(f"{name} = excluded.{name}" for name in names.split(", "))
    execute_values(
        tx.cursor,
        f'insert into public.stream_status (session_id, market, symbol, kind, "interval", {names}) values %s'
        f' on conflict (session_id, market, symbol, kind, "interval") do update set {taken}',
        values,
        page_size=1_000,
    )
    tx.cursor.execute(
        'delete from public.stream_status where session_id = %s and (market, symbol, kind, "interval") not in'
        " (select * from unnest(%s::text[], %s::text[], %s::text[], %s::text[]))",
        (session_id, *([one[place] for one in values] for place in range(1, 5))),
    )


def load_sessions(tx: Transaction) -> list[SessionRow]:
    """Return the sessions that are alive, and the newest of all if it ended or died this week; the oldest first."""
    sessions = named_rows(
        tx,
        f"""
        select * from (
            select *, ended_at is null and heartbeat_at > clock_timestamp() - {_DEAD_AFTER} as is_alive,
                   row_number() over (order by started_at desc) as place
            from public.stream_sessions) as known
        where is_alive or (place = 1 and heartbeat_at > clock_timestamp() - {_KEPT}) order by started_at
        """,
    )
    of_session = _load_streams(tx, [row.id for row in sessions])
    return [
        SessionRow(
            row.id,
            row.host,
            row.pid,
            from_datetime(row.started_at),
            from_datetime(row.heartbeat_at),
            _ms(row.ended_at),
            row.is_alive,
            row.settings,
            row.statistics,
            tuple(of_session.get(row.id, ())),
        )
        for row in sessions
    ]


def _load_streams(tx: Transaction, ids: Sequence[str]) -> dict[str, list[StreamRow]]:
    """Return the streams by session."""
    streams = named_rows(
        tx,
        "select *, last_price::text as price from public.stream_status where session_id = any(%s)"
        ' order by market desc, symbol, kind, "interval"',
        ([*ids],),
    )
    found: dict[str, list[StreamRow]] = {}
    for row in streams:
        found.setdefault(row.session_id, []).append(
            StreamRow(
                _key(row.market, row.symbol, row.kind, row.interval),
                StreamState(row.state),
                _ms(row.last_event_at),
                _ms(row.last_closed_open_time),
                row.price,
                row.messages,
                row.messages_per_second,
                row.latency_p95_ms,
                row.reconnects,
                row.heals,
                row.errors,
                _ms(row.silent_since),
            )
        )
    return found


def _key_columns(key: StreamKey) -> tuple[str, str, str, str]:
    interval = "" if key.interval is None else key.interval.code
    return key.market.value, key.instrument.symbol, key.kind.value, interval


def _key(market: str, symbol: str, kind: str, interval: str) -> StreamKey:
    instrument: Instrument = make_series(market, symbol, interval or "1m").instrument
    try:
        return StreamKey(StreamKind(kind), instrument, INTERVALS[interval] if interval else None)
    except (ValueError, KeyError) as error:
        raise ConfigurationError(
            f"table public.stream_status, row {market} {symbol} {kind} {interval}: {error}; update the program"
        ) from error


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else from_datetime(moment)


def _datetime(ms: int | None) -> datetime | None:
    return None if ms is None else to_datetime(ms)
