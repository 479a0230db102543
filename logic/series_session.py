"""One series in one run: where it rests, where it comes from, and who is at work."""

from __future__ import annotations

from dataclasses import dataclass

from core.exchange_rules import SeriesRules
from core.series import Series
from db.commit import CommitContext
from db.connection import Database
from fetcher.source import ExchangeSource


@dataclass(frozen=True, slots=True)
class SeriesSession:
    """What every step of a run about one series needs."""

    database: Database
    exchange: ExchangeSource
    series: Series
    series_id: int
    run_id: str
    now_ms: int  # this machine's clock, for ledger and corrections

    @property
    def table(self) -> str:
        """The series' table."""
        return self.series.table_name

    @property
    def commit(self) -> CommitContext:
        """What the rows that this run commits say of their origin."""
        return CommitContext(self.series_id, self.table, self.run_id, self.now_ms)

    @property
    def rules(self) -> SeriesRules:
        """The exchange's rules of the series."""
        return self.exchange.rules(self.series)

    def exchange_now_ms(self) -> int:
        """Return the exchange's clock, by which answers are dated."""
        return self.exchange.now_ms(self.series.market)
