"""What is irregular in the generated market: told beforehand, so that a demo can show what is found again."""

from __future__ import annotations

from dataclasses import dataclass

from core.instrument import Market
from core.ranges import Span
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE

_SHORTEST_MS = 7 * MS_PER_DAY


@dataclass(frozen=True, slots=True)
class SymbolPlan:
    """One symbol of the generated market."""

    market: Market
    symbol: str
    price: int  # in whole quote units, where the walk begins
    listing_ms: int  # open time of the first candle
    end_ms: int  # no candle from here on
    quiet_share: float  # share of candles without a trade
    intervals: tuple[str, ...]
    status: str = "TRADING"

    @property
    def is_delisted(self) -> bool:
        """Whether trading ended before the market's end."""
        return self.status != "TRADING"


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """The irregularities of the generated market. Spans are half-open, epoch ms."""

    span: Span
    symbols: tuple[SymbolPlan, ...]
    spot_halts: tuple[Span, ...]  # no spot candle opens in these; futures keep trading
    off_grid: Span  # spot 1m candles that open in it are shifted by `sessions.OFF_GRID_SHIFT_MS`

    def symbol(self, market: Market, symbol: str) -> SymbolPlan:
        """Return one symbol's plan. Raises KeyError."""
        for plan in self.symbols:
            if (plan.market, plan.symbol) == (market, symbol):
                return plan
        raise KeyError(f"{market}:{symbol}")


_FEW = ("1m", "5m", "15m", "1h", "4h", "1d", "1w", "1M")
_ALL = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")


def market_facts(start_ms: int, end_ms: int) -> MarketFacts:
    """Return what happens in the generated market of `[start_ms, end_ms)`.

    Everything lies at fixed shares of the span. Raises ValueError below seven days, which would not
    hold it all.
    """
    if end_ms - start_ms < _SHORTEST_MS:
        raise ValueError("the generated market needs at least seven days")

    def hour_at(share: float) -> int:
        return (start_ms + int((end_ms - start_ms) * share)) // MS_PER_HOUR * MS_PER_HOUR

    def day_at(share: float) -> int:
        return (start_ms + int((end_ms - start_ms) * share)) // MS_PER_DAY * MS_PER_DAY

    halt_ms, long_halt_ms = hour_at(0.35), hour_at(0.6)
    halt = Span(halt_ms + 40 * MS_PER_MINUTE, halt_ms + 4 * MS_PER_HOUR)
    long_halt = Span(long_halt_ms + 29 * MS_PER_MINUTE, long_halt_ms + 6 * MS_PER_HOUR - 2 * MS_PER_MINUTE)
    off_grid = Span(long_halt.end_ms, long_halt_ms + 11 * MS_PER_HOUR - MS_PER_MINUTE)
    # The stretch off the grid ends in a short halt, after which the candles are on the grid again.
    short_halt = Span(off_grid.end_ms, off_grid.end_ms + 16 * MS_PER_MINUTE)

    first_day_ms = day_at(0.0) if start_ms % MS_PER_DAY == 0 else day_at(0.0) + MS_PER_DAY
    symbols = (
        SymbolPlan(Market.SPOT, "BTCUSDT", 64_000, first_day_ms + 4 * MS_PER_HOUR, end_ms, 0.001, _ALL),
        SymbolPlan(
            Market.SPOT,
            "ETHUSDT",
            3_100,
            day_at(0.12) + 14 * MS_PER_HOUR + 30 * MS_PER_MINUTE,
            end_ms,
            0.004,
            _FEW,
        ),
        SymbolPlan(Market.SPOT, "BCCUSDT", 420, start_ms, day_at(0.5) + 10 * MS_PER_HOUR, 0.05, _FEW, "BREAK"),
        SymbolPlan(Market.UM, "BTCUSDT", 64_000, start_ms, end_ms, 0.001, _FEW),
        SymbolPlan(Market.CM, "BTCUSD_PERP", 64_000, day_at(0.3) + 7 * MS_PER_HOUR, end_ms, 0.02, _FEW),
    )
    return MarketFacts(Span(start_ms, end_ms), symbols, (halt, long_halt, short_halt), off_grid)
