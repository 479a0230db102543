"""Whatever streams, REST, audits and restarts do in any order, ledger and candles agree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from candles import batch_of, save_spans, stored_rows
from hypothesis import given
from hypothesis import strategies as st

from core.binance.row import ROW_POSITIONS
from core.closed_round import ClosedCandle, Fate, OpenRow
from core.columns import VALUE_NAMES
from core.fetched import FetchedSpan
from core.ranges import Span, merge, subtract
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_MINUTE, parse_time
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.closed_candles import RoundCommit, commit_round
from db.connection import Database
from db.ledger import hash_stored, load_entries, set_verified, snapshot_of
from db.provisional import fold_streamed, split_provisional
from db.schema import create_table_if_not_exists
from demo.generated_market import generate_series

START_MS = parse_time("2024-03-01")
SLOTS = 40
ABSENT = {11, 12, 29}  # the exchange has no candle there
_examples = itertools.count()


def span(first: int, last: int) -> Span:
    return Span(START_MS + first * MS_PER_MINUTE, START_MS + last * MS_PER_MINUTE)


@dataclass
class Model:
    """One series, and what was to happen to it."""

    database: Database
    series: Series
    series_id: int
    truth: Sequence[Sequence[object]]
    open_rows: dict[int, OpenRow]
    values: dict[int, tuple[str, ...]]  # what was first stored, by slot

    def final(self, slot: int, is_wrong: bool) -> ClosedCandle:
        row = self.truth[slot]
        values = [row[ROW_POSITIONS[name]] for name in VALUE_NAMES]
        if is_wrong:
            values[6] = int(str(values[6])) + 1
        return ClosedCandle(self.series_id, self.series, int(str(row[0])), tuple(values))  # type: ignore[arg-type]

    def stream(self, slots: Sequence[int], is_wrong: bool) -> None:
        finals = [self.final(slot, is_wrong) for slot in slots if slot not in ABSENT]
        run, before = RoundCommit("stream", START_MS), self.covered()
        for outcome in commit_round(self.database, finals, self.open_rows, run):
            slot = (outcome.candle.open_ms - START_MS) // MS_PER_MINUTE
            given = tuple(map(str, outcome.candle.values))
            if outcome.fate is Fate.STORED:
                assert slot not in self.values
                self.values[slot] = given
            else:
                same = self.values[slot] == given
                assert outcome.fate is (Fate.EQUAL if same else Fate.CONFLICT)
            assert outcome.is_covered
            assert outcome.after_hole == (slot not in before and slot - 1 not in self.covered())

    def by_rest(self, first: int, last: int) -> None:
        """Fetch what is not covered of some slots, as a backfill does."""
        for part in subtract([span(first, last)], self.spans()):
            low, high = ((ms - START_MS) // MS_PER_MINUTE for ms in (part.start_ms, part.end_ms))
            there = [slot for slot in range(low, high) if slot not in ABSENT]
            fetched = FetchedSpan(part, batch_of([self.truth[slot] for slot in there]), Source.REST)
            with self.database.transaction("save") as tx:
                save_spans(tx, self.series_id, self.series.table_name, [fetched], "rest", START_MS)
            for slot in there:
                self.values[slot] = tuple(map(str, self.final(slot, is_wrong=False).values))

    def audit(self, until: int) -> None:
        """Split, verify and fold, as an audit does that finds all equal."""
        until_ms = span(0, until).end_ms if until else START_MS
        with self.database.transaction("audit") as tx:
            split_provisional(tx, self.series_id, self.series.table_name, until_ms)
            for entry in load_entries(tx, self.series_id, self.series.table_name):
                if entry.source is not Source.REST and entry.span.end_ms <= until_ms:
                    set_verified(tx, self.series_id, entry.span, START_MS, "rest", snapshot_of(tx))
        with self.database.transaction("fold") as tx:
            fold_streamed(tx, self.series_id, self.series.table_name)

    def spans(self) -> list[Span]:
        with self.database.transaction("read") as tx:
            return [entry.span for entry in load_entries(tx, self.series_id, self.series.table_name)]

    def covered(self) -> set[int]:
        starts = [(one.start_ms - START_MS, one.end_ms - START_MS) for one in self.spans()]
        return {slot for low, high in starts for slot in range(low // MS_PER_MINUTE, high // MS_PER_MINUTE)}

    def require_truth(self) -> None:
        with self.database.transaction("look") as tx:
            stored = {
                (int(str(row[0])) - START_MS) // MS_PER_MINUTE: tuple(map(str, row[1:]))
                for row in stored_rows(tx, self.series.table_name)
            }
            entries = load_entries(tx, self.series_id, self.series.table_name)
            for entry in entries:
                assert hash_stored(tx, self.series.table_name, entry.span) == (entry.rows, entry.content_hash)
        assert stored == self.values
        assert sum(one.span.end_ms - one.span.start_ms for one in entries) == sum(
            one.end_ms - one.start_ms for one in merge(one.span for one in entries)
        )
        covered = self.covered()
        assert stored.keys() <= covered
        assert covered - stored.keys() <= ABSENT


slots = st.integers(0, SLOTS - 1)
actions = st.one_of(
    st.tuples(st.just("stream"), st.lists(slots, min_size=1, max_size=4), st.booleans()),
    st.tuples(st.just("onwards"), st.integers(1, 6), st.just(False)),
    st.tuples(st.just("rest"), st.tuples(slots, st.integers(1, 10)), st.just(False)),
    st.tuples(st.just("audit"), slots, st.just(False)),
    st.tuples(st.just("restart"), st.none(), st.just(False)),
)


@given(st.lists(actions, min_size=4, max_size=12))
def test_ledger_and_candles_agree(database: Database, done: list[tuple[str, object, bool]]) -> None:
    series = parse_series(f"M{next(_examples)}USDT")
    with database.transaction("enter") as tx:
        row = sync_symbols(tx, [WantedSeries(series)], replaces_catalog=False)[series]
        create_table_if_not_exists(tx, series, False, 0)
    truth = list(generate_series(series, span(0, SLOTS + 6), 1))
    model = Model(database, series, row.id, truth, {}, {})
    newest = 0
    for action, what, is_wrong in done:
        match action, what:
            case "stream", list(some):
                model.stream(some, is_wrong)
            case "onwards", int(count):
                for slot in range(newest, min(newest + count, SLOTS)):
                    model.stream([slot], is_wrong=False)
                newest = min(newest + count, SLOTS)
            case "rest", (int(first), int(count)):
                model.by_rest(first, min(first + count, SLOTS))
            case "audit", int(until):
                model.audit(until)
            case "restart", None:
                model.open_rows.clear()
        model.require_truth()
