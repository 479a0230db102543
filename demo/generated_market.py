"""A made-up market with the real one's irregularities, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from random import Random

from core.instrument import Market
from core.ranges import Span
from core.series import Series, make_series
from core.times import parse_time
from demo.aggregation import all_intervals
from demo.candle_rows import Row
from demo.candle_store import CandleStore, SymbolFacts
from demo.decimal_text import SCALES, Ticks, write_row
from demo.market_facts import MarketFacts, SymbolPlan, market_facts
from demo.random_candles import random_candles
from demo.sessions import Session, sessions, slots

DEFAULT_SPAN = Span(parse_time("2024-11-11"), parse_time("2025-01-20T12:00"))
"""Ten weeks: one whole month, days, and a last day for REST; spot archives turn to microseconds within."""

_PRICE = 30_000
_QUIET_SHARE = 0.001


def generate_series(
    series: Series,
    span: Span,
    seed: int = 0,
    *,
    quiet_share: float = _QUIET_SHARE,
    halts: Sequence[Span] = (),
    off_grid: Sequence[Span] = (),
) -> Iterator[Row]:
    """Yield the candles of `series` that open in `span` (half-open), in order, as 12-item rows.

    The same arguments give the same rows. `quiet_share` is the share of candles without a
    trade. No candle opens in `halts`: the last ones before are flat and the very
    last closes early. A session that begins inside one of `off_grid` opens its candles off the grid.
    An iterator, not a list: a year of rows need not be in memory; wrap it in `list` to read it twice.
    """
    scale = SCALES[series.market]
    for ticks in _series_ticks(series, sessions(span, halts, off_grid), seed, _PRICE, quiet_share):
        yield write_row(scale, ticks)


def generate_market(start_ms: int, end_ms: int, seed: int = 0) -> CandleStore:
    """Return the generated market of `[start_ms, end_ms)`; `market_facts` of the same range describes it.

    Longer intervals are aggregated from 1m, so they agree with it; the last one of each is what has
    been traded by `end_ms`. Raises ValueError below seven days.
    """
    facts = market_facts(start_ms, end_ms)
    store = CandleStore()
    for plan in facts.symbols:
        _add_symbol(store, plan, facts, seed)
    return store


def _add_symbol(store: CandleStore, plan: SymbolPlan, facts: MarketFacts, seed: int) -> None:
    base = make_series(plan.market, plan.symbol, "1m")
    is_spot = plan.market is Market.SPOT
    trading = sessions(
        Span(plan.listing_ms, plan.end_ms),
        facts.spot_halts if is_spot else (),
        (facts.off_grid,) if is_spot else (),
    )
    minutes = list(_series_ticks(base, trading, seed, plan.price, plan.quiet_share))
    scale = SCALES[plan.market]
    for interval, candles in all_intervals(minutes, plan.intervals):
        store.add(make_series(plan.market, plan.symbol, interval.code), (write_row(scale, ticks) for ticks in candles))
    store.set_facts(plan.market, plan.symbol, SymbolFacts(plan.status, plan.listing_ms))


def _series_ticks(
    series: Series, trading: Iterable[Session], seed: int, price: int, quiet_share: float
) -> Iterator[Ticks]:
    """Yield the candles of the `trading` sessions; `price` is in whole quote units, where the walk begins."""
    # Text seeds are hashed by Random itself, the same on every run and machine.
    random = Random(f"{seed}/{series}")
    times = chain.from_iterable(slots(series.interval, session) for session in trading)
    return random_candles(series.market, times, random, price, quiet_share)
