"""The plan of a backfill without doing it (`--dry-run`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import SeriesError
from core.plan import Estimate, SourceChoice, estimate
from core.ranges import Span
from core.series import Series
from core.wanted import WantedSeries
from fetcher.binance.exchange import Exchange
from logic.planning.listing import KnownLife
from logic.planning.series_plan import SeriesPlan, plan_series


@dataclass(frozen=True, slots=True)
class Known:
    """What the database holds of a series: the symbol's life and the merged spans it covers."""

    life: KnownLife = field(default_factory=KnownLife)
    covered: Sequence[Span] = ()


@dataclass(frozen=True, slots=True)
class PlannedSeries:
    """One series with its plan and what that will cost, or with why there is none."""

    series: Series
    plan: SeriesPlan | None = None
    estimate: Estimate | None = None
    error: str | None = None


def plan_backfill(
    wanted: Sequence[WantedSeries],
    exchange: Exchange,
    choice: SourceChoice,
    chunk_days: int,
    known: Mapping[Series, Known],
) -> list[PlannedSeries]:
    """Return the plan of every active series. Reads from the exchange, writes nowhere. Raises ExchangeUnavailable."""
    planned = []
    active = [one for one in wanted if one.active]
    for one in active:
        market = one.series.market
        symbols = {other.series.symbol for other in active if other.series.market is market}
        facts = exchange.open_market(market, symbols) if choice is not SourceChoice.ARCHIVE else None
        has = known.get(one.series, Known())
        try:
            plan = plan_series(one, facts, has.life, has.covered, exchange, choice, chunk_days)
            planned.append(PlannedSeries(one.series, plan, estimate(one.series, plan.chunks, plan.rules)))
        except SeriesError as error:
            planned.append(PlannedSeries(one.series, error=str(error)))
    return planned
