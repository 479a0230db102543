"""The service for other programs: events after the commit, subscriptions that change while it runs, the example."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

import pytest
from live_program import live
from program import PROJECT, Program

from bus.event_bus import InMemoryEventBus
from commands.market_data_service import MarketDataService
from core.errors import ConfigurationError
from core.events import DEPTH, KLINE, KLINE_UPDATE, PRICE, TRADE, Event
from core.times import to_datetime

__all__ = ["live"]

PATIENCE_S = 40


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not what():
            await asyncio.sleep(0.05)


def test_events_come_and_go_with_the_subscriptions_and_a_closed_candle_is_in_the_table(live: Program) -> None:
    bus, got = InMemoryEventBus(), dict[str, list[Event]]()
    not_there: list[Event] = []

    def closed(event: Event) -> None:
        found = live.query(
            f"select close::text from public.ohlcv_{event.symbol.lower()}_1s"
            f" where time = '{to_datetime(event.data['open_time']).isoformat()}'"
        )
        if found != [(event.data["close"],)]:
            not_there.append(event)
        got.setdefault(f"{event.symbol} closed", []).append(event)

    def count(name: str) -> int:
        return len(got.get(name, []))

    async def act() -> None:
        service = MarketDataService(live.database_url, bus, "key", "secret", live.full_environment())
        bus.subscribe(KLINE, closed)
        for topic in (TRADE, PRICE, KLINE_UPDATE, DEPTH):
            bus.subscribe(topic, lambda one, topic=topic: got.setdefault(f"{one.symbol} {topic}", []).append(one))
        await service.start()
        with pytest.raises(ConfigurationError, match="NOSUCH"):
            await service.subscribe_symbol("NOSUCHUSDT", interval="1s")
        with pytest.raises(ConfigurationError, match="market um has no trade; it has kline, "):
            await service.subscribe_symbol("um:BTCUSDT", data_types=["trade"])
        await service.subscribe_symbol("BTCUSDT", data_types=["kline"], interval="1s")
        await until(lambda: count("BTCUSDT closed") >= 2 and count(f"BTCUSDT {KLINE_UPDATE}"))
        await service.subscribe_symbol("ETHUSDT", data_types=["kline", "trade"], interval="1s")
        await until(lambda: count("ETHUSDT closed") >= 2 and count(f"ETHUSDT {TRADE}") and count(f"ETHUSDT {PRICE}"))
        with pytest.raises(ConfigurationError, match="no stream of 6 levels"):
            await service.update_subscription("ETHUSDT", data_types=["kline", "trade", "depth"], depth=6)
        await service.update_subscription("ETHUSDT", data_types=["kline", "trade", "depth"], depth=5)
        await until(lambda: count(f"ETHUSDT {DEPTH}"))
        assert {len(one.data.bids) for one in got[f"ETHUSDT {DEPTH}"]} == {5}
        await service.update_subscription("ETHUSDT", data_types=["kline"])
        await service.unsubscribe_symbol("BTCUSDT")
        await asyncio.sleep(1.5)  # what is on its way
        before = count("BTCUSDT closed"), count(f"ETHUSDT {TRADE}"), count("ETHUSDT closed")
        await until(lambda: count("ETHUSDT closed") >= before[2] + 2)
        assert (count("BTCUSDT closed"), count(f"ETHUSDT {TRADE}")) == before[:2]
        history = await service.get_historical_data("ETHUSDT", "1s", limit=2)
        assert len(history) == 2 and history[0]["time"] < history[1]["time"]
        assert "kinds" in service.statistics()
        service.clear_cache()
        await service.stop()
        with pytest.raises(ConfigurationError, match="was stopped"):
            await service.subscribe_symbol("BTCUSDT")

    asyncio.run(act())
    bus.close()
    assert not_there == []
    for name in ("BTCUSDT closed", "ETHUSDT closed"):
        times = [one.data["open_time"] for one in got[name]]
        assert times == sorted(set(times)), name
        assert all(one.event_ms is not None and one.received_ms is not None for one in got[name])


def test_the_example_of_the_documents_runs(live: Program) -> None:
    done = subprocess.run(
        [sys.executable, "docs/examples/live_candles.py", "BTCUSDT", "1s", "2"],
        cwd=PROJECT,
        env={**live.full_environment(), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("BTCUSDT 1s ")]
    assert len(lines) == 2 and "newest in the table: 20" in done.stdout
