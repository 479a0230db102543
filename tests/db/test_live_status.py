"""Sessions and streams in the database: written, read again, and dead without a heartbeat."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.series import parse_series
from core.stream_activity import StreamState
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from core.times import parse_time
from db.connection import Database
from db.live_status import SessionRow, StreamRow, beat, begin_session, load_sessions, write_streams

AT_MS = parse_time("2026-03-01T12:00:30")
CANDLES = StreamRow(
    StreamKey.candles_of(parse_series("um:BTCUSDT/1M")),
    StreamState.LIVE,
    AT_MS,
    AT_MS - 90_000,
    "68500.50000000",
    1_200,
    4.0,
    212.5,
    1,
    2,
    3,
    None,
)
TRADES = replace(
    CANDLES,
    key=StreamKey(StreamKind.AGG_TRADE, parse_series("BTCUSDT").instrument),
    state=StreamState.SILENT,
    last_closed_ms=None,
    last_price=None,
    silent_since_ms=AT_MS,
)


def sessions(database: Database) -> list[SessionRow]:
    with database.transaction("read") as tx:
        return load_sessions(tx)


def begun(database: Database, session_id: str, *streams: StreamRow) -> None:
    with database.transaction("write") as tx:
        assert not beat(tx, session_id, {})
        begin_session(tx, session_id, "host", 42, {"series": 1})
        assert beat(tx, session_id, {"waiting": 7})
        write_streams(tx, session_id, streams)


def later(database: Database, seconds: int) -> None:
    with database.transaction("let time pass") as tx:
        tx.cursor.execute(
            "update public.stream_sessions set heartbeat_at = heartbeat_at - %s * interval '1 second'", (seconds,)
        )


def test_what_is_written_is_read_again(database: Database) -> None:
    begun(database, "a", CANDLES, TRADES)
    [session] = sessions(database)
    assert (session.host, session.pid, session.is_alive) == ("host", 42, True)
    assert (session.settings, session.statistics, session.ended_ms) == ({"series": 1}, {"waiting": 7}, None)
    assert set(session.streams) == {CANDLES, TRADES}
    with database.transaction("one stream left, the other changed") as tx:
        write_streams(tx, "a", [replace(CANDLES, messages=2_000)])
    assert sessions(database)[0].streams == (replace(CANDLES, messages=2_000),)


def test_without_a_heartbeat_it_has_died_and_the_next_heartbeat_revives_it(database: Database) -> None:
    begun(database, "a", CANDLES)
    later(database, 20)
    assert sessions(database)[0].is_alive  # one heartbeat was late
    later(database, 6)
    [dead] = sessions(database)
    assert not dead.is_alive and dead.ended_ms is None
    with database.transaction("it was only slow") as tx:
        assert beat(tx, "a", {})
    assert sessions(database)[0].is_alive


def test_two_that_live_are_both_told_and_one_that_died_before_them_is_not(database: Database) -> None:
    begun(database, "a")
    later(database, 60)
    begun(database, "b")
    begun(database, "c")
    assert [one.id for one in sessions(database)] == ["b", "c"]
    with database.transaction("end") as tx:
        beat(tx, "c", {}, is_ended=True)
    assert [(one.id, one.is_alive) for one in sessions(database)] == [("b", True), ("c", False)]


def test_what_ended_a_week_ago_is_forgotten(database: Database) -> None:
    begun(database, "a", CANDLES)
    later(database, 8 * 86_400)
    begun(database, "b")
    with database.transaction("read") as tx:
        tx.cursor.execute("select id from public.stream_sessions union all select session_id from public.stream_status")
        assert tx.cursor.fetchall() == [("b",)]


@pytest.mark.parametrize("streams", [0, 3_000])
def test_many_streams_are_one_report(database: Database, streams: int) -> None:
    rows = [replace(CANDLES, key=StreamKey.candles_of(parse_series(f"C{number}USDT"))) for number in range(streams)]
    begun(database, "a", *rows)
    assert len(sessions(database)[0].streams) == streams
