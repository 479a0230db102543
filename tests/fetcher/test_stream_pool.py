"""Live streams over real sockets, against the replay exchange; its time runs faster than real time."""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from core.binance.streams import BinanceStreamRules
from core.errors import ConfigurationError
from core.instrument import ExchangeName, Market
from core.ranges import Span
from core.series import Series, parse_series
from core.stream_rules import StreamRules
from core.streams import (
    CandleUpdate,
    ConnectionClosed,
    MarketUnusable,
    Seam,
    SeamReason,
    StreamEvent,
    StreamKey,
    StreamLive,
    StreamSilent,
)
from core.times import MS_PER_MINUTE, parse_time
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from demo.stream_faults import (
    Abort,
    CloseWith,
    ConnectionFault,
    Damage,
    DamageFrame,
    HalfOpen,
    RefuseHandshake,
    ShutDown,
    Silence,
    Where,
)
from fetcher.addresses import StreamAddresses
from fetcher.binance.stream_messages import BinanceStreamFormat
from fetcher.exchanges import open_live_streams
from fetcher.stream_pool import StreamPool, StreamTime
from fetcher.stream_socket import SocketEvents, StreamSocket, trusted_certificates

BEGIN_MS, NOW = parse_time("2024-03-01"), "2024-03-01T00:10:30"
PATIENCE_S = 20
NOTATIONS = ("BTCUSDT", "ETHUSDT", "BTCUSDT/1s", "ETHUSDT/1s", "um:BTCUSDT", "um:ETHUSDT", "cm:BTCUSD_PERP")
SERIES = {notation: parse_series(notation) for notation in NOTATIONS}


def key(notation: str) -> StreamKey:
    return StreamKey.candles_of(parse_series(notation))


ETH, BTC, BOGUS = key("ETHUSDT"), key("BTCUSDT"), key("NOSUCHUSDT")


@pytest.fixture(scope="module")
def store() -> CandleStore:
    store = CandleStore()
    for series in SERIES.values():
        span = Span(BEGIN_MS, BEGIN_MS + 40 * MS_PER_MINUTE)
        store.add(series, generate_series(series, span, quiet_share=0.0))
    return store


@dataclass
class Bench:
    """A replay exchange, live streams from it, and what they delivered."""

    exchange: ReplayExchange
    speed: float
    candles: list[CandleUpdate]
    unusable: list[tuple[StreamKey | None, str]]
    events: list[StreamEvent]
    pool: StreamPool
    on_event: Callable[[StreamEvent], None] = lambda event: None

    def take_event(self, event: StreamEvent) -> None:
        self.events.append(event)
        self.on_event(event)

    def candle(self, update: CandleUpdate, received_ns: int) -> None:
        self.candles.append(update)

    def unusable_frame(self, key: StreamKey | None, why: str, frame: bytes) -> None:
        self.unusable.append((key, why))

    def seen(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    def live(self) -> list[StreamKey]:
        return [event.key for event in self.seen(StreamLive)]

    def live_after_seam(self) -> set[StreamKey]:
        """Return the streams that came back to life after the first seam."""
        after = [type(event) for event in self.events].index(Seam) if self.seen(Seam) else len(self.events)
        return {event.key for event in self.events[after:] if isinstance(event, StreamLive)}

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await asyncio.sleep(0.005)

    async def pass_s(self, seconds: float) -> None:
        """Let so many seconds of the exchange's time pass."""
        await asyncio.sleep(seconds / self.speed)


class _Sink:
    def __init__(self, bench: Bench) -> None:
        self.candle = bench.candle
        self.unusable = bench.unusable_frame
        self.event = bench.take_event


Streaming = Callable[..., Bench]


@pytest.fixture
def bench(store: CandleStore) -> Iterator[Streaming]:
    """Make a bench with so fast an exchange."""
    with ExitStack() as stack:

        def make(speed: float = 60, most: int = 200, frames: BinanceStreamFormat | None = None) -> Bench:
            clock = ReplayClock(parse_time(NOW), speed=speed)
            exchange = stack.enter_context(ReplayExchange(store, clock))
            bench = Bench(exchange, speed, [], [], [], None)  # type: ignore[arg-type]
            addresses = StreamAddresses(exchange.stream_urls, most, 30_000)
            passing = StreamTime(clock.now_ms, lambda ms: ms / 1000 / speed)
            chance = random.Random(1).random
            bench.pool = StreamPool(frames or BinanceStreamFormat(), addresses, _Sink(bench), passing, chance)
            return bench

        yield make


def play(bench: Bench, keys: list[StreamKey], act: Callable[[], Awaitable[None]]) -> None:
    """Run the live streams of `keys` while `act` runs."""

    async def run() -> None:
        bench.pool.want(keys)
        async with asyncio.timeout(2 * PATIENCE_S):
            running = asyncio.create_task(bench.pool.run())
            try:
                await act()
            finally:
                bench.pool.stop()
                await running

    asyncio.run(run())


def stored(bench: Bench, series: Series, open_ms: int) -> tuple:
    row = bench.exchange.store.rows(series, open_ms, open_ms + 1)[0]
    return (*row[1:6], row[7], row[8], row[9], row[10])


def test_closed_candles_of_three_markets_are_the_exchanges(bench: Streaming) -> None:
    one = bench()
    keys = [key(notation) for notation in NOTATIONS]

    async def act() -> None:
        await one.until(lambda: {update.series for update in one.candles} >= set(SERIES.values()))

    play(one, keys, act)
    assert all(update.is_closed for update in one.candles)
    for update in one.candles:
        assert update.values == stored(one, update.series, update.open_ms)
        assert update.event_ms >= update.series.interval.add(update.open_ms, 1)
    assert set(one.live()) == set(keys)
    assert one.pool.counts.not_read > 0
    assert {record.market for record in one.exchange.streams.connections} == set(Market)
    assert all(record.close_code == 1000 for record in one.exchange.streams.connections)


def test_candles_before_their_close_come_only_where_they_are_wanted(bench: Streaming) -> None:
    one = bench()

    async def act() -> None:
        one.pool.want_updates([ETH])
        await one.until(lambda: len(one.candles) > 20)

    play(one, [ETH, BTC], act)
    assert {update.series for update in one.candles if not update.is_closed} == {ETH.series}


@pytest.mark.parametrize(
    ("fault", "reason", "speed"),
    [
        (Abort(), SeamReason.CUT, 20),
        (CloseWith(1000), SeamReason.CUT, 20),
        (CloseWith(1011), SeamReason.CUT, 20),
        (Silence(), SeamReason.SILENT, 60),
        (Silence(pongs=False), SeamReason.SILENT, 60),
        (HalfOpen(), SeamReason.SILENT, 60),
    ],
)
def test_after_a_fault_all_streams_come_back_on_another_connection(
    bench: Streaming, fault: ConnectionFault, reason: SeamReason, speed: float
) -> None:
    one = bench(speed)
    one.exchange.streams.faults.add(fault, Where(connection=1), after=20)

    async def act() -> None:
        await one.until(lambda: one.live_after_seam() == {ETH, BTC})

    play(one, [ETH, BTC], act)
    seam = one.seen(Seam)[0]
    assert set(seam.keys) == {ETH, BTC}
    assert seam.reason is reason
    assert 0 <= seam.to_ms - seam.from_ms <= 2 * MS_PER_MINUTE
    now_ms = one.exchange.clock.now_ms()
    assert now_ms - 5 * MS_PER_MINUTE < seam.to_ms <= now_ms
    assert not one.seen(ConnectionClosed)[0].is_planned


def test_policy_violations_are_answered_by_fewer_names_and_a_wait(bench: Streaming) -> None:
    one = bench(speed=30)
    one.exchange.streams.faults.add(CloseWith(1008), Where(connection=1), after=5)

    async def act() -> None:
        await one.until(lambda: one.live_after_seam() == {ETH, BTC})

    play(one, [ETH, BTC], act)
    first, second = one.exchange.streams.connections[:2]
    assert first.closed_ms is not None
    assert second.opened_ms - first.closed_ms >= 9_000


@pytest.mark.parametrize(("status", "after_s"), [(429, 30), (503, 0)])
def test_a_refused_handshake_is_tried_again(bench: Streaming, status: int, after_s: int) -> None:
    one = bench(speed=100)
    one.exchange.streams.faults.add(RefuseHandshake(status, retry_after_s=after_s or None))

    async def act() -> None:
        await one.until(lambda: ETH in one.live())

    play(one, [ETH], act)
    [refused], [record] = one.exchange.streams.refused, one.exchange.streams.connections
    assert record.opened_ms - refused.at_ms >= after_s * 1000 - 1000
    assert one.seen(MarketUnusable) == []


@pytest.mark.parametrize("status", [403, 451])
def test_a_market_that_refuses_this_place_is_named_unusable_and_the_others_go_on(bench: Streaming, status: int) -> None:
    one = bench(speed=100)
    one.exchange.streams.faults.add(RefuseHandshake(status), Where(market=Market.UM), times=100)

    async def act() -> None:
        await one.until(lambda: bool(one.seen(MarketUnusable)) and ETH in one.live())
        await one.pass_s(30)

    play(one, [ETH, key("um:ETHUSDT")], act)
    [unusable] = one.seen(MarketUnusable)
    assert unusable.market is Market.UM
    assert str(status) in unusable.why
    assert len(one.exchange.streams.refused) == 1


class Unrouted(BinanceStreamFormat):
    """The addresses of before 2026-04: they accept everything and deliver no candles."""

    def rules_of(self, key: StreamKey) -> BinanceStreamRules:
        return BinanceStreamRules(key.market, "")


def test_a_silent_futures_socket_makes_the_market_unusable(bench: Streaming) -> None:
    one = bench(speed=100, frames=Unrouted())

    async def act() -> None:
        await one.until(lambda: bool(one.seen(MarketUnusable)))

    play(one, [key("um:BTCUSDT")], act)
    assert len(one.exchange.streams.connections) >= 3
    assert one.live() == []


class WrongNames(BinanceStreamFormat):
    """Names that the exchange accepts and never delivers: in upper case, and of another route."""

    def rules_of(self, key: StreamKey) -> StreamRules:
        return WrongRules(key.market, "/market" if key.market is Market.UM else "")


class WrongRules(BinanceStreamRules):
    def name(self, key: StreamKey) -> str:
        right = super().name(key)
        return {"ethusdt@kline_1m": "ETHUSDT@kline_1m", "ethusdt@kline_5m": "ethusdt@depth20"}.get(right, right)


def test_wrong_names_are_named_and_the_others_go_on(bench: Streaming) -> None:
    one = bench(speed=60, frames=WrongNames())
    upper, bogus, good = key("um:ETHUSDT"), key("um:NOSUCHUSDT"), key("um:BTCUSDT")
    named_ms: list[int] = []

    async def act() -> None:
        await one.until(lambda: good in one.live())
        began_ms = one.exchange.clock.now_ms()
        await one.until(lambda: {event.key for event in one.seen(StreamSilent)} == {upper, bogus})
        named_ms.append(one.exchange.clock.now_ms() - began_ms)

    play(one, [upper, bogus, good], act)
    assert named_ms[0] <= 180_000  # 90 s by tests/core/test_stream_session.py; a busy machine is late in scaled time
    assert len(one.seen(StreamSilent)) == 2


def test_planned_turnovers_lose_no_candle(bench: Streaming) -> None:
    one = bench(speed=30)
    seconds = [key("BTCUSDT/1s"), key("ETHUSDT/1s")]

    async def act() -> None:
        await one.until(lambda: len(one.live()) == 2)
        for turn in range(1, 4):
            one.pool.reconnect(Market.SPOT)
            await one.until(lambda turn=turn: len(one.seen(ConnectionClosed)) == turn)
        await one.pass_s(5)

    play(one, seconds, act)
    assert one.seen(Seam) == []
    assert all(event.is_planned for event in one.seen(ConnectionClosed))
    for stream in seconds:
        times = sorted({update.open_ms for update in one.candles if update.series == stream.series})
        assert times == list(range(times[0], times[-1] + 1, 1000))
        assert len(times) > 10


def test_an_announced_end_is_a_turnover(bench: Streaming) -> None:
    one = bench()
    one.exchange.streams.faults.add(ShutDown(lead_ms=30_000), Where(connection=1), after=20)

    async def act() -> None:
        await one.until(lambda: len(one.seen(ConnectionClosed)) == 1)

    play(one, [ETH, BTC], act)
    assert one.seen(Seam) == []
    assert one.exchange.streams.connections[0].close_code == 1000


def test_1025_streams_need_two_connections_within_the_limits(bench: Streaming) -> None:
    one = bench(speed=10, most=1024)
    keys = [ETH, *(key(f"A{number}USDT") for number in range(1023)), BTC]

    async def act() -> None:
        await one.until(lambda: {ETH, BTC} <= set(one.live()))
        await one.until(lambda: sum(len(each.streams) for each in one.exchange.streams.open_connections) == 1025 + 4)

    play(one, keys, act)
    assert max(len(each.streams) for each in one.exchange.streams.connections) == 1024
    # On a busy machine messages may arrive in a heap, and scaled time makes them too many; streams never are.
    assert not any("Too many streams" in event.why for event in one.seen(ConnectionClosed))


def test_damaged_frames_are_named_and_the_connection_goes_on(bench: Streaming) -> None:
    one = bench()
    for how in Damage:
        one.exchange.streams.faults.add(DamageFrame(how), Where(stream="@kline_1m", finals=False), times=2, after=3)
    one.exchange.streams.faults.add(DamageFrame(Damage.TYPES), Where(stream="ethusdt@kline_1m", finals=True), after=0)

    async def act() -> None:
        await one.until(lambda: one.exchange.streams.faults.pending() == 0)
        await one.until(lambda: any(update.series == ETH.series for update in one.candles))

    play(one, [ETH, BTC], act)
    assert one.unusable
    for update in one.candles:
        assert update.values == stored(one, update.series, update.open_ms)


def test_streams_may_be_wanted_and_left_while_it_runs(bench: Streaming) -> None:
    one = bench()

    async def act() -> None:
        await one.until(lambda: ETH in one.live())
        one.pool.want([BTC, key("um:BTCUSDT")])
        await one.until(lambda: {BTC, key("um:BTCUSDT")} <= set(one.live()))
        await one.until(lambda: "ethusdt@kline_1m" not in one.exchange.streams.connections[0].streams)
        one.pool.want([])
        await one.until(lambda: one.exchange.streams.open_connections == [])

    play(one, [ETH], act)
    assert one.seen(Seam) == []


def test_streams_may_be_wanted_from_within_an_event(bench: Streaming) -> None:
    one = bench()
    futures = key("um:BTCUSDT")

    def want_more(event: StreamEvent) -> None:
        if isinstance(event, ConnectionClosed):  # told while all sessions are told that time has passed
            one.pool.want([ETH, futures])

    one.on_event = want_more

    async def act() -> None:
        await one.until(lambda: ETH in one.live())
        one.pool.reconnect()
        await one.until(lambda: futures in one.live())

    play(one, [ETH], act)


def test_a_stream_that_is_left_when_its_connection_ends_is_not_connected_to_again(bench: Streaming) -> None:
    one = bench()
    one.on_event = lambda event: one.pool.want([]) if isinstance(event, Seam) else None

    async def act() -> None:
        await one.until(lambda: ETH in one.live())
        one.exchange.streams.abort()
        await one.until(lambda: bool(one.seen(Seam)))
        await one.pass_s(5)
        assert one.exchange.streams.open_connections == []

    play(one, [ETH], act)


def test_a_host_that_is_not_there_raises_nothing(store: CandleStore) -> None:
    bench = Bench(None, 100, [], [], [], None)  # type: ignore[arg-type]
    addresses = StreamAddresses({"spot": "ws://127.0.0.1:9", "um": "wss://no.such.host.invalid"}, 200, 30_000)
    passing = StreamTime(lambda: BEGIN_MS, lambda ms: ms / 100_000)
    bench.pool = StreamPool(BinanceStreamFormat(), addresses, _Sink(bench), passing, lambda: 0.5)

    async def act() -> None:
        await asyncio.sleep(0.2)

    play(bench, [ETH, key("um:ETHUSDT")], act)
    assert bench.events == []


def test_after_three_hours_of_sleep_all_connections_are_made_anew(bench: Streaming) -> None:
    one = bench()
    asleep_ms: list[int] = []

    async def act() -> None:
        await one.until(lambda: len(one.live()) == 2)
        asleep_ms.append(one.exchange.clock.now_ms())
        one.exchange.clock.advance(3 * 60 * MS_PER_MINUTE)
        await one.until(lambda: len({key for seam in one.seen(Seam) for key in seam.keys}) == 2)

    play(one, [ETH, key("um:BTCUSDT")], act)
    assert {key for seam in one.seen(Seam) for key in seam.keys} == {ETH, key("um:BTCUSDT")}
    for seam in one.seen(Seam)[:2]:
        assert seam.from_ms <= asleep_ms[0] + 1000
        assert seam.to_ms >= asleep_ms[0] + 3 * 60 * MS_PER_MINUTE


def test_a_proxys_password_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    events = SocketEvents(lambda: None, lambda status, after, why: told.append(why), lambda frame: None, print)
    trusted = trusted_certificates()
    for proxy in ("ftp://me:secret@127.0.0.1:9", "http://me:secret@127.0.0.1:none"):
        monkeypatch.setenv("https_proxy", proxy)
        asyncio.run(StreamSocket("wss://stream.invalid/stream", trusted, events).run())
    assert len(told) == 2
    assert all("proxy" in why and "secret" not in why for why in told)


def test_certificates_that_cannot_be_read_are_a_matter_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    with pytest.raises(ConfigurationError, match=r"/no/such/file\.pem"):
        trusted_certificates()


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("fetcher.stream_") or name == "websockets"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("websockets", "websockets.asyncio.client"):
        monkeypatch.setitem(sys.modules, name, None)
    addresses = StreamAddresses({}, 200, 30_000)
    with pytest.raises(ConfigurationError, match=r"requirements-live\.txt"):
        open_live_streams(
            ExchangeName.BINANCE, addresses, _Sink(Bench(None, 1, [], [], [], None)), int, float, random.random
        )
