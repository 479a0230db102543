"""The live service for programs of your own: `MarketDataService`, with subscribers on an event bus (docs/live.md).

Everything is kept in the database as `stream` keeps it. Settings come from the environment and `.env`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from commands.clock import local_now_ms
from commands.connections import reading, writing
from commands.context import CommandContext, make_console
from commands.exchange_access import asking, backfill_options
from commands.interrupt import Interruption
from commands.live_tools import live_tools
from config.settings import StreamSettings, load_settings
from core.errors import ConfigurationError
from core.exchanges import offered_kinds
from core.instrument import Instrument
from core.series import Series, parse_series
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from core.wanted import WantedSeries
from core.wanted_streams import with_levels
from logic.exchange_opening import ExchangeSource
from logic.live.preparing import History, plan_live, plan_records
from logic.live.publishing import InMemoryEventBus
from logic.live.service import LiveService
from logic.live.statistics import statistics_document
from logic.live.tools import LiveOptions, LiveSeries, RecordOptions
from logic.opening import Database, prepare_market_tables
from logic.stored import newest_candles, read_catalog

_STOP_S = 7.0


@dataclass(frozen=True, slots=True)
class _Subscribed:
    kinds: tuple[StreamKind, ...]
    series: Series  # of its candles
    depth: int | None = None  # levels of its order book; None: what the settings say


class MarketDataService:
    """Streams symbols into the database and onto `event_bus`. Its methods may be called from one event loop.

    `database_url` empty: the database of the settings. `api_key` and `api_secret` are taken and not used: public data
    needs none. `environment` replaces that of the process. Methods raise the errors of core/errors.py.
    """

    def __init__(
        self,
        database_url: str = "",
        event_bus: InMemoryEventBus | None = None,
        api_key: str | None = None,
        api_secret: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        known = dict(os.environ if environment is None else environment)
        if database_url:
            known["DATABASE_URL"] = database_url
        consoles = make_console(sys.stdout, False), make_console(sys.stderr, False)
        run_id = uuid.uuid4().hex[:8]
        self._context = CommandContext(load_settings(known), run_id, local_now_ms, Interruption(), *consoles)
        self.event_bus = InMemoryEventBus() if event_bus is None else event_bus
        self._lock = threading.Lock()  # one change at a time
        self._subscribed: dict[Instrument, _Subscribed] = {}
        self._streamed: dict[Series, LiveSeries] = {}
        self._service: LiveService | None = None

    async def start(self) -> None:
        """Open the database and bring its tables up to date."""
        await asyncio.to_thread(self._open)

    async def stop(self) -> None:
        """Store what was received and close all connections; the service cannot be started again."""
        await asyncio.to_thread(self._close)

    async def subscribe_symbol(
        self, symbol: str, data_types: Sequence[str] = ("kline",), interval: str | None = None
    ) -> None:
        """Stream `symbol` (`BTCUSDT`, `um:BTCUSDT`): candles of `interval`, and what else `data_types` names.

        What was subscribed to of the symbol before is replaced. Raises ConfigurationError for what is not offered.
        """
        name = f"{symbol}/{interval or self._context.settings.default_interval}"
        series = parse_series(name)
        await self._change(series.instrument, _Subscribed(_kinds(data_types, series), series))

    async def update_subscription(
        self,
        symbol: str,
        data_types: Sequence[str] | None = None,
        interval: str | None = None,
        depth: int | None = None,
    ) -> None:
        """Change what is streamed of a symbol; what is not given stays. Raises ConfigurationError.

        `depth`: so many levels of each side of its order book, instead of DEFAULT_DEPTH.
        """
        instrument = parse_series(f"{symbol}/1m").instrument
        known = self._subscribed.get(instrument)
        if known is None:
            raise ConfigurationError(f"{symbol} is not subscribed to; call subscribe_symbol first")
        if data_types is not None:
            known = replace(known, kinds=_kinds(data_types, known.series))
        if interval is not None:
            known = replace(known, series=parse_series(f"{symbol}/{interval}"))
        if depth is not None:
            known = replace(known, depth=depth)
        await self._change(instrument, known)

    async def unsubscribe_symbol(self, symbol: str) -> None:
        """Stream nothing more of a symbol; what is stored stays."""
        await self._change(parse_series(f"{symbol}/1m").instrument, None)

    async def get_historical_data(self, symbol: str, interval: str, limit: int = 1000) -> list[dict[str, str]]:
        """Return the newest `limit` stored candles, the oldest first, every value as text with all its digits.

        Raises ConfigurationError when nothing is stored of the series.
        """
        return await asyncio.to_thread(self._stored, parse_series(f"{symbol}/{interval}"), limit)

    def statistics(self) -> dict[str, object]:
        """Return the figures of docs/live.md, at most ten seconds old; nothing before the first subscription."""
        return {} if self._service is None else statistics_document(self._service.statistics)

    def clear_cache(self) -> None:
        """Give memory back that is not needed any more. Nothing is cached that could be out of date."""
        gc.collect()

    def _open(self) -> None:
        with writing(self._context):
            pass

    def _close(self) -> None:
        with self._lock:
            if self._service is not None:
                self._service.stop(_STOP_S)
            self._context.interruption.stop()

    async def _change(self, instrument: Instrument, subscribed: _Subscribed | None) -> None:
        await asyncio.to_thread(self._change_now, instrument, subscribed)

    def _change_now(self, instrument: Instrument, subscribed: _Subscribed | None) -> None:
        with self._lock, ExitStack() as opened:
            if self._context.interruption.is_stopped:
                raise ConfigurationError("the service was stopped; make another one")
            wanted = {one: of for one, of in self._subscribed.items() if one != instrument}
            if subscribed is not None:
                wanted[instrument] = subscribed
            database = opened.enter_context(writing(self._context))
            exchange = opened.enter_context(asking(self._context))
            series = self._plan_series(database, exchange, wanted)
            streams = self._context.settings.streams
            keys: list[StreamKey] = []
            for one, of in wanted.items():
                of_one = [StreamKey(kind, one) for kind in of.kinds if kind is not StreamKind.KLINE]
                keys += with_levels(of_one, streams.depth if of.depth is None else of.depth)
            records, left_out = plan_records(exchange, keys)
            if left_out:
                raise ConfigurationError("; ".join(f"{key}: {why}" for key, why in left_out.items()))
            self._stream(database, exchange, series, _record_options(streams, records))
            self._subscribed = wanted

    def _plan_series(
        self, database: Database, exchange: ExchangeSource, wanted: Mapping[Instrument, _Subscribed]
    ) -> list[LiveSeries]:
        """Return the series to stream; one that is streamed already keeps its range."""
        series = [of.series for of in wanted.values() if StreamKind.KLINE in of.kinds]
        new = [WantedSeries(one) for one in series if one not in self._streamed]
        plan = plan_live(database, exchange, new, False, History(is_wanted=False))
        if plan.left_out:
            raise ConfigurationError("; ".join(f"{one}: {why}" for one, why in plan.left_out.items()))
        self._streamed |= {one.wanted.series: one for one in plan.series}
        return [self._streamed[one] for one in series]

    def _stream(
        self, database: Database, exchange: ExchangeSource, series: Sequence[LiveSeries], records: RecordOptions
    ) -> None:
        backfill = backfill_options(self._context, database, heal_gaps=False)
        if records.keys:
            prepare_market_tables(database, backfill.timescale, backfill.compress_after_days)
        if self._service is not None:
            self._service.want(series, records.keys)
            return
        if not series and not records.keys:
            return
        market = series[0].wanted.series.market if series else records.keys[0].market
        options = LiveOptions(self._context.run_id, backfill, self._context.settings.streams.audit_ms, records)
        tools = live_tools(self._context, exchange, market)
        self._service = LiveService(series, tools, options, self.event_bus)
        self._service.start()
        self._service.heal([one.wanted.series for one in series])  # up to now, and its table is made

    def _stored(self, series: Series, limit: int) -> list[dict[str, str]]:
        with reading(self._context) as database:
            known = [] if database is None else [row.series for row in read_catalog(database, None)]
            if database is None or series not in known:
                raise ConfigurationError(f"nothing is stored of {series}; subscribe to it, or run a backfill")
            names, rows = newest_candles(database, series, limit)
        return [dict(zip(names, row, strict=True)) for row in reversed(rows)]


def _record_options(streams: StreamSettings, keys: tuple[StreamKey, ...]) -> RecordOptions:
    return RecordOptions(keys, streams.ticker_ms, streams.mark_price_ms, streams.depth_ms, may_come=True)


def _kinds(names: Sequence[str], series: Series) -> tuple[StreamKind, ...]:
    offered = {kind.value: kind for kind in offered_kinds(series.exchange, series.market)}
    if unknown := [name for name in names if name not in offered]:
        raise ConfigurationError(
            f"data_types: market {series.market} has no {', '.join(unknown)}; it has {', '.join(offered)}"
        )
    return tuple(dict.fromkeys(offered[name] for name in names))
