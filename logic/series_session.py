"""One series in one run: its database, its exchange and the run's id."""

from __future__ import annotations

from dataclasses import dataclass

from core.exchange_rules import SeriesRules
from core.series import Series
from db.commit import CommitContext
from db.connection import Database
from fetcher.source import ExchangeSource


@dataclass(frozen=True, slots=True)
class SeriesSession:
    """What every step of a run needs to work on one series."""

    database: Database
    exchange: ExchangeSource
    series: Series
    series_id: int
    run_id: str
    now_ms: int  # this machine's clock, for ledger and corrections

    @property
    def table(self) -> str:
        """The table of the series."""
        return self.series.table_name

    @property
    def commit(self) -> CommitContext:
        """What is recorded with every row that this run commits."""
        return CommitContext(self.series_id, self.table, self.run_id, self.now_ms)

    @property
    def rules(self) -> SeriesRules:
        """The exchange's rules for the series."""
        return self.exchange.rules(self.series)

    def exchange_now_ms(self) -> int:
        """Return the exchange's time (epoch ms), used to date its answers."""
        return self.exchange.now_ms(self.series.market)
