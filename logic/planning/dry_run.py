"""Plans a backfill without running it (`--dry-run`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import SeriesError
from core.plan import Estimate, estimate
from core.series import Series
from core.wanted import WantedSeries
from fetcher.source import ExchangeSource
from logic.planning.listing import StoredCoverage
from logic.planning.series_plan import FetchPolicy, SeriesPlan, plan_series


@dataclass(frozen=True, slots=True)
class PlannedSeries:
    """One series with its plan and the expected cost, or with the error that prevented a plan."""

    series: Series
    plan: SeriesPlan | None = None
    estimate: Estimate | None = None
    error: str | None = None


def plan_backfill(
    wanted: Sequence[WantedSeries],
    exchange: ExchangeSource,
    policy: FetchPolicy,
    stored: Mapping[Series, StoredCoverage],
) -> list[PlannedSeries]:
    """Return the plan of every active series. Reads from the exchange, writes nowhere. Raises ExchangeUnavailable."""
    planned = []
    active = [one for one in wanted if one.active]
    for one in active:
        market = one.series.market
        named = {other.series.symbol for other in active if other.series.market is market}
        try:
            symbols = None
            if policy.allowed.rest:
                exchange.open_market(market, named)
                symbols = exchange.open_market(market, {one.series.symbol})
            plan = plan_series(one, symbols, stored.get(one.series, StoredCoverage()), exchange, policy)
            planned.append(PlannedSeries(one.series, plan, estimate(plan.options, plan.chunks)))
        except SeriesError as error:
            planned.append(PlannedSeries(one.series, error=str(error)))
    return planned
