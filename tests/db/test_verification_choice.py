"""Which ledger spans a verification takes: parts that share everything out, and those that wait longest."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extras import execute_values

from core.ranges import Span, TimeRange
from core.series import parse_series
from core.subset import Part, parse_percent
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, format_ms, parse_time, to_datetime
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.connection import Database, Transaction
from db.verification_choice import Selection, choose_spans, load_chosen

# In the order of their tables, in which the catalog numbers them: it decides between spans that wait equally long.
SERIES = sorted(map(parse_series, ("BTCUSDT", "um:ETHUSDT/1h", "cm:BTCUSD_PERP/1M")), key=lambda one: one.table_name)
START_MS = parse_time("2024-01-01")


@dataclass(frozen=True)
class Entry:
    """A ledger entry of one of SERIES: which, the day that it is of, candles, and days that it waits since."""

    series: int
    day: int
    rows: int
    waits_since: int

    @property
    def start_ms(self) -> int:
        return START_MS + self.day * MS_PER_DAY

    @property
    def name(self) -> str:
        return f"{SERIES[self.series]}/{format_ms(self.start_ms)}"


def entries_of(rows: st.SearchStrategy[int]) -> st.SearchStrategy[list[Entry]]:
    one = st.builds(Entry, st.integers(0, 2), st.integers(0, 60), rows, st.integers(0, 20))
    return st.lists(one, max_size=30, unique_by=lambda entry: (entry.series, entry.day))


shares = st.fractions(min_value=Fraction(1, 200), max_value=1).filter(bool)


class Ledger:
    """The ledger of SERIES in a transaction that is rolled back."""

    def __init__(self, tx: Transaction, ids: list[int]) -> None:
        self.tx, self.ids = tx, ids

    def fill(self, entries: Iterable[Entry]) -> None:
        self.tx.cursor.execute("delete from public.ohlcv_ledger")
        rows = [
            (self.ids[one.series], to_datetime(one.start_ms), to_datetime(one.start_ms + MS_PER_DAY), one.rows,
             to_datetime(START_MS + one.waits_since * MS_PER_DAY))
            for one in entries
        ]  # fmt: skip
        execute_values(
            self.tx.cursor,
            "insert into public.ohlcv_ledger (series_id, span_start, span_end, source, rows, fetched_at, run_id)"
            " values %s",
            rows,
            template="(%s, %s, %s, 'rest', %s, %s, 'run')",
        )

    def chosen(self, selection: Selection) -> list[tuple[int, int]]:
        """Return which series and days are chosen."""
        names = {series_id: str(series) for series_id, series in zip(self.ids, SERIES, strict=True)}
        chosen = choose_spans(self.tx, names, selection)
        found = []
        for place, series_id in enumerate(self.ids):
            entries = load_chosen(self.tx, chosen, series_id, SERIES[place].table_name)
            assert len(entries) == chosen.counts.get(series_id, 0)
            assert [one.span for one in entries] == sorted(one.span for one in entries)
            found += [(place, (one.span.start_ms - START_MS) // MS_PER_DAY) for one in entries]
        return found


@contextmanager
def ledger_in(database: Database) -> Iterator[Ledger]:
    """Yield the ledger, empty; nothing of it stays."""

    class Undone(Exception):
        pass

    try:
        with database.transaction("choose") as tx:
            rows = sync_symbols(tx, [WantedSeries(series) for series in SERIES], replaces_catalog=True)
            yield Ledger(tx, [rows[series].id for series in SERIES])
            raise Undone
    except Undone:
        pass


def taken(ledger: Ledger, entries: list[Entry], selection: Selection) -> set[Entry]:
    """Return which of the entries, alone in the ledger, are chosen."""
    ledger.fill(entries)
    chosen = set(ledger.chosen(selection))
    return {one for one in entries if (one.series, one.day) in chosen}


@given(entries=entries_of(st.integers(0, 1000)), of=st.integers(1, 6))
def test_every_span_is_in_exactly_one_part(database: Database, entries: list[Entry], of: int) -> None:
    with ledger_in(database) as ledger:
        counts = Counter(
            one for number in range(1, of + 1) for one in taken(ledger, entries, Selection(part=Part(number, of)))
        )
    assert counts == Counter(entries)


@given(entries=entries_of(st.integers(0, 1000)), of=st.integers(1, 999_999))
def test_the_part_of_a_span_depends_on_its_series_and_start_alone(
    database: Database, entries: list[Entry], of: int
) -> None:
    wanted = Part(1 + int.from_bytes(hashlib.sha256(Entry(0, 0, 0, 0).name.encode()).digest()[:8], "big") % of, of)
    with ledger_in(database) as ledger:
        found = taken(ledger, entries, Selection(part=wanted))
    digests = {one: hashlib.sha256(one.name.encode()).digest() for one in entries}
    assert found == {one for one in entries if int.from_bytes(digests[one][:8], "big") % of == wanted.number - 1}


@pytest.mark.parametrize("offset_ms", [0, MS_PER_HOUR, 61 * MS_PER_MINUTE, 1_000, 1, 1_001, 123])
def test_the_start_of_a_span_is_written_as_everywhere(database: Database, offset_ms: int) -> None:
    name = f"{SERIES[0]}/{format_ms(START_MS + offset_ms)}"
    number = 1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 999_983
    with ledger_in(database) as ledger:
        ledger.fill([Entry(0, 0, 10, 0)])
        ledger.tx.cursor.execute("update public.ohlcv_ledger set span_start = %s", (to_datetime(START_MS + offset_ms),))
        assert ledger.chosen(Selection(part=Part(number, 999_983))) == [(0, 0)]


def test_parts_are_roughly_even(database: Database) -> None:
    entries = [Entry(series, day, 1, 0) for series in range(2) for day in range(700)]
    with ledger_in(database) as ledger:
        ledger.fill(entries)
        sizes = [len(ledger.chosen(Selection(part=Part(number, 7)))) for number in range(1, 8)]
    assert sum(sizes) == len(entries)
    assert max(abs(size - 200) for size in sizes) < 5 * math.sqrt(200)


def test_the_longest_waiting_spans_make_up_the_share(database: Database) -> None:
    young, old, middle = waiting = [Entry(0, 0, 500, 30), Entry(1, 1, 200, 10), Entry(2, 2, 300, 20)]
    with ledger_in(database) as ledger:
        assert taken(ledger, waiting, Selection(share=Fraction(1, 5))) == {old}
        assert taken(ledger, waiting, Selection(share=Fraction(1, 2))) == {old, middle}
        assert taken(ledger, waiting, Selection(share=Fraction(51, 100))) == {young, old, middle}


def test_a_span_waits_since_it_was_verified_or_tried_in_vain(database: Database) -> None:
    with ledger_in(database) as ledger:
        ledger.fill([Entry(0, day, 100, day) for day in range(4)])
        for column, day in (("verified_at", 0), ("attempted_at", 1)):
            ledger.tx.cursor.execute(
                f"update public.ohlcv_ledger set {column} = %s where span_start = %s",
                (to_datetime(START_MS + 9 * MS_PER_DAY), to_datetime(START_MS + day * MS_PER_DAY)),
            )
        assert ledger.chosen(Selection(share=Fraction(1, 2))) == [(0, 2), (0, 3)]


def test_at_least_one_span_is_taken_however_small_the_share(database: Database) -> None:
    with ledger_in(database) as ledger:
        large, small, empty = Entry(0, 0, 10**9, 5), Entry(0, 1, 1, 6), Entry(0, 0, 0, 5)
        assert taken(ledger, [large, small], Selection(share=Fraction(1, 10**9))) == {large}
        assert taken(ledger, [empty], Selection(share=Fraction(1, 100))) == {empty}
        assert taken(ledger, [], Selection(share=Fraction(1))) == set()


@given(entries=entries_of(st.integers(0, 1000)), share=shares)
def test_what_is_taken_waits_longest_and_reaches_the_share_and_not_without_its_last_span(
    database: Database, entries: list[Entry], share: Fraction
) -> None:
    with ledger_in(database) as ledger:
        chosen = taken(ledger, entries, Selection(share=share))
    assert bool(chosen) == bool(entries)
    left = set(entries) - chosen
    assert all(one.waits_since <= other.waits_since for one in chosen for other in left)
    candles = {one: max(one.rows, 1) for one in entries}
    assert sum(candles[one] for one in chosen) >= share * sum(candles.values())
    if len(chosen) > 1:
        last = max(chosen, key=lambda one: (one.waits_since, one.series, one.day))
        assert sum(candles[one] for one in chosen - {last}) < share * sum(candles.values())


@given(entries=entries_of(st.integers(0, 3)))
def test_100_percent_are_all_spans_those_without_candles_too(database: Database, entries: list[Entry]) -> None:
    with ledger_in(database) as ledger:
        assert taken(ledger, entries, Selection(share=parse_percent("100"))) == set(entries)


def test_4_percent_a_day_come_round_in_25_days(database: Database) -> None:
    visits: Counter[int] = Counter()
    with ledger_in(database) as ledger:
        ledger.fill([Entry(0, day, 1440, 0) for day in range(1000)])
        for run in range(1, 26):
            chosen = [day for _, day in ledger.chosen(Selection(share=parse_percent("4")))]
            visits.update(chosen)
            ledger.tx.cursor.execute(
                "update public.ohlcv_ledger set verified_at = %s where span_start = any(%s)",
                (
                    to_datetime(START_MS + (2000 + run) * MS_PER_DAY),
                    [to_datetime(START_MS + day * MS_PER_DAY) for day in chosen],
                ),
            )
    assert visits == Counter(range(1000))


def test_a_range_takes_the_spans_that_overlap_it(database: Database) -> None:
    days = Span(START_MS + 2 * MS_PER_DAY, START_MS + 4 * MS_PER_DAY)
    with ledger_in(database) as ledger:
        ledger.fill([Entry(series, day, 1440, day) for series in range(2) for day in range(6)])
        assert ledger.chosen(Selection(TimeRange(days.start_ms, days.end_ms))) == [(0, 2), (0, 3), (1, 2), (1, 3)]
        assert ledger.chosen(Selection(TimeRange(days.end_ms - 1))) == [(0, 3), (0, 4), (0, 5), (1, 3), (1, 4), (1, 5)]
        assert ledger.chosen(Selection(TimeRange(None, START_MS + 1))) == [(0, 0), (1, 0)]
        assert ledger.chosen(Selection(TimeRange(START_MS + MS_PER_DAY), share=Fraction(1, 100))) == [(0, 1)]
