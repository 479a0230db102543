"""What an exchange must offer. `logic/` knows no more of an exchange than this.

A new exchange implements `ExchangeSource`, states its pure facts in `core/<exchange>/`, gets a line in
`fetcher/exchanges.py` and `core/exchanges.py`, and passes the contract suite (tests/fetcher/test_source_contract.py).

All of it is thread-safe. Times are epoch ms, spans half-open. Methods that ask the exchange raise SeriesError when this
series cannot be answered, ExchangeUnavailable when the market cannot be used (further questions about it then fail at
once with the same error), ArchiveUnavailable when a file or listing cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from core.archives import ArchiveIndex, Period
from core.candles import CandleBatch
from core.errors import ExchangeUnavailable
from core.exchange_rules import SeriesRules
from core.instrument import Market
from core.ranges import Span
from core.series import Series
from core.symbol_info import SymbolInfo

Reserve = Callable[[str, int, int, int], int]
"""(address pool, minute since the epoch, weight wanted, weight allowed to all) -> weight granted."""


class Archives(Protocol):
    """Published files of candles. An exchange without any lists none."""

    def list_published(self, series: Series, wanted: Span) -> ArchiveIndex:
        """Return which files of the series exist, as far as `wanted` needs them."""

    def fetch(self, series: Series, period: Period) -> tuple[CandleBatch, str]:
        """Return all candles of one file, validated, and the file's sha256 (hex), which was verified."""

    def published_checksum(self, series: Series, period: Period) -> str:
        """Return the sha256 (hex) that is published for a file, without reading the file."""

    def list_earlier_contracts(self, series: Series) -> list[str]:
        """Return the names, sorted, under which files of earlier contracts of the series' ticker are kept."""

    def remove_leftovers(self) -> None:
        """Delete what earlier runs that were killed left on the disk."""


class ExchangeSource(Protocol):
    """One exchange as one run sees it."""

    @property
    def archives(self) -> Archives:
        """Its published files."""

    def rules(self, series: Series) -> SeriesRules:
        """Return the pure facts about fetching `series`."""

    def now_ms(self, market: Market) -> int:
        """Return the exchange's clock; this machine's until `open_market` has set it."""

    def is_clock_set(self, market: Market) -> bool:
        """Whether `now_ms` is the exchange's own time."""

    def open_market(self, market: Market, symbols: set[str] | None) -> Mapping[str, SymbolInfo]:
        """Set the market's clock and limits; return at least those of `symbols` that exist, or all for None."""

    def failures(self) -> Mapping[Market, ExchangeUnavailable]:
        """Return the markets that could not be used so far, and why."""

    def fetch_candles(self, series: Series, span: Span) -> CandleBatch:
        """Return every candle of `span` that the exchange has, ascending and validated.

        The caller ends `span` at or before the last closed candle. What the answer lacks, the exchange does not have:
        an empty or short answer is believed only when asking again said the same.
        """

    def find_first_candle(self, series: Series, from_ms: int = 0) -> int | None:
        """Return the open time of the first candle that opens at or after `from_ms`, or None when there is none."""

    def find_last_candle(self, series: Series, listing_ms: int | None = None) -> int | None:
        """Return the open time of the newest candle, finished or not, or None. `listing_ms` bounds the search."""

    def has_candle_in(self, series: Series, span: Span) -> bool:
        """Return whether a candle opens in `span`, of at most 200 days."""

    def share_budget(self, reserve: Reserve) -> None:
        """Let `reserve` decide from now on how much request weight may be used."""

    def weight_used(self) -> int:
        """Return the request weight used so far, for people to read."""

    def weight_per_minute(self) -> float:
        """Return the weight a minute that this run allows itself, all address pools together."""
