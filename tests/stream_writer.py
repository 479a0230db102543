"""A process that writes rounds of closed candles of three series, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from candles import Row, batch_of, save_spans, stored_rows

from core.binance.row import ROW_POSITIONS
from core.closed_round import CandleOutcome, ClosedCandle, Fate, OpenRow
from core.columns import VALUE_NAMES
from core.fetched import FetchedSpan
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import Source
from core.times import parse_time
from core.timescale import TimescaleUse
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.closed_candles import RoundCommit, commit_round
from db.connection import Database
from db.ledger import LedgerEntry, hash_stored, load_entries
from db.schema import create_table_if_not_exists
from db.timescale import use_timescale
from demo.generated_market import generate_series

BTC, ETH, SOL = parse_series("BTCUSDT"), parse_series("ETHUSDT"), parse_series("um:SOLUSDT/5m")
START_MS = parse_time("2024-03-01")
RUN = RoundCommit("stream", START_MS + 1)


class Writer:
    """A process that writes rounds, with what the exchange has. Candles are told by the number of their slot."""

    def __init__(self, database: Database, timescale: bool = False) -> None:
        self.database = database
        self.open_rows: dict[int, OpenRow] = {}
        self.truth: dict[Series, list[Sequence[object]]] = {}
        if timescale:
            use_timescale(database, TimescaleUse.ON)
        with database.transaction("enter") as tx:
            entered = sync_symbols(tx, [WantedSeries(one) for one in (BTC, ETH, SOL)], replaces_catalog=True)
            for one in (BTC, ETH, SOL):
                create_table_if_not_exists(tx, one, timescale, 0)
        self.ids = {one: entered[one].id for one in (BTC, ETH, SOL)}
        for seed, one in enumerate(self.ids):
            self.truth[one] = list(generate_series(one, self.span(one, 0, 1500), seed))

    def span(self, series: Series, first: int, last: int) -> Span:
        return Span(series.interval.add(START_MS, first), series.interval.add(START_MS, last))

    def final(self, series: Series, slot: int, **changes: object) -> ClosedCandle:
        row = self.truth[series][slot]
        values = {name: row[ROW_POSITIONS[name]] for name in VALUE_NAMES} | changes
        return ClosedCandle(self.ids[series], series, int(str(row[0])), tuple(values.values()))  # type: ignore[arg-type]

    def round(self, *candles: ClosedCandle) -> list[CandleOutcome]:
        return commit_round(self.database, candles, self.open_rows, RUN)

    def stream(self, series: Series, *slots: int) -> list[Fate]:
        return [one.fate for one in self.round(*(self.final(series, slot) for slot in slots))]

    def by_rest(self, series: Series, first: int, last: int) -> None:
        fetched = FetchedSpan(self.span(series, first, last), batch_of(self.truth[series][first:last]), Source.REST)
        with self.database.transaction("save") as tx:
            save_spans(tx, self.ids[series], series.table_name, [fetched], "rest", START_MS)

    def entries(self, series: Series) -> list[LedgerEntry]:
        with self.database.transaction("read") as tx:
            return load_entries(tx, self.ids[series], series.table_name)

    def rows(self, series: Series) -> list[Row]:
        with self.database.transaction("read") as tx:
            return stored_rows(tx, series.table_name)

    def ledger(self, series: Series) -> list[tuple[str, int, int]]:
        """Return source, first slot and end of each row, whose hashes must be those of the stored candles."""
        found = []
        for entry in self.entries(series):
            with self.database.transaction("hash") as tx:
                assert hash_stored(tx, series.table_name, entry.span) == (entry.rows, entry.content_hash)
            first, end = (series.interval.count(START_MS, ms) for ms in (entry.span.start_ms, entry.span.end_ms))
            found.append((entry.source.value, first, end))
        return found
