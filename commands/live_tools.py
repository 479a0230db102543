"""From the settings to what a live service works with."""

from __future__ import annotations

import random

from commands.clock import steady_ms
from commands.connections import database_address
from commands.context import CommandContext
from commands.exchange_access import asking, stream_addresses
from core.instrument import ExchangeName, Market
from logic.exchange_opening import ExchangeSource, LiveStreams, StreamSink, open_live_streams
from logic.live.market_clocks import MarketClocks
from logic.live.tools import LiveTools, seconds_of
from logic.opening import open_database


def live_tools(context: CommandContext, exchange: ExchangeSource, market: Market) -> LiveTools:
    """Return what the service works with; the clock of `market` has been read."""
    address, cancelling = database_address(context.settings), context.interruption.cancelling
    ahead_ms = exchange.now_ms(market) - context.now_ms()

    def open_streams(sink: StreamSink) -> LiveStreams:
        return open_live_streams(
            ExchangeName.BINANCE,
            stream_addresses(context.settings),
            sink,
            # By this machine's date, which goes on while it sleeps.
            now_ms=lambda: context.now_ms() + ahead_ms,
            seconds=seconds_of,
            random=random.random,
        )

    return LiveTools(
        open_database=lambda: open_database(address, cancelling),
        open_exchange=lambda: asking(context, is_lasting=True),
        open_streams=open_streams,
        local_now_ms=context.now_ms,
        steady_ms=steady_ms,
        clocks=MarketClocks(exchange),
        seconds=seconds_of,
    )
