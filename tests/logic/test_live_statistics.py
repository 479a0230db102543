"""The figures of a live service are those of the exchange that it listens to, and so are those in the database."""

from __future__ import annotations

from pathlib import Path

from live_market import LiveMarket

from core.ranges import Span
from core.series import parse_series
from core.stream_activity import StreamState
from core.streams import StreamKey
from core.times import MS_PER_MINUTE, parse_time
from db.connection import Database
from db.live_status import load_sessions
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.stream_faults import Damage, DamageFrame, Where

SERIES = [parse_series(text) for text in ("BTCUSDT", "ETHUSDT/5m", "um:BNBUSDT")]
BEGINS_MS = parse_time("2024-11-11T10:00:30")
SPEED = 60.0


def test_figures_equal_those_of_the_exchange(database_url: str, database: Database, tmp_path: Path) -> None:
    store = CandleStore()
    for series in SERIES:
        store.add(series, generate_series(series, Span(BEGINS_MS - 30 * MS_PER_MINUTE, BEGINS_MS + 3_600_000), 1))
    with ReplayExchange(store, ReplayClock(BEGINS_MS, SPEED)) as replay:
        live = LiveMarket(database_url, tmp_path, replay, SERIES, BEGINS_MS - 20 * MS_PER_MINUTE, SPEED)
        service = live.started()
        live.wait_until(live.now_ms() + 2 * MS_PER_MINUTE)
        replay.streams.faults.add(DamageFrame(Damage.CUT), Where(stream="btcusdt@kline_1m"), times=1)
        replay.streams.abort()
        live.wait_until(live.now_ms() + 4 * MS_PER_MINUTE)
        assert service.stop(10.0)
        kline = service.statistics.by_kind["kline"]
        by_key = {one.key: one for one in service.statistics.streams}
        sent = {
            SERIES[0]: replay.streams.frames_sent("btcusdt@kline_1m"),
            SERIES[1]: replay.streams.frames_sent("ethusdt@kline_5m"),
        }
    with database.transaction("read") as tx:
        [session] = load_sessions(tx)
    for series, count in sent.items():
        heard = by_key[StreamKey.candles_of(series)]
        assert count - 3 <= heard.messages <= count  # a cut loses what is on its way
        assert heard.record.cuts >= 1 and heard.heals >= 1
        assert heard.record.closed_ms is not None and heard.record.price is not None
    assert kline.frames == sum(one.messages for one in by_key.values())
    assert kline.per_second > 0 and kline.bytes_per_second > 100 * kline.per_second
    assert kline.latency.p50 is not None and 0 < kline.latency.p50 < 5_000
    assert service.statistics.to_commit.p99 is not None
    assert not session.is_alive and session.ended_ms is not None
    assert session.settings["streams"] == 3
    for row in session.streams:
        figures = by_key[row.key]
        assert row.state is StreamState.STOPPED
        assert (row.messages, row.reconnects, row.heals) == (figures.messages, figures.record.cuts, figures.heals)
        assert (row.last_closed_ms, row.last_price) == (figures.record.closed_ms, figures.record.price)
    assert len(session.streams) == 3
