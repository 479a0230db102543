"""Any deletions, late publications, heals and waits, in any order and on any interval, end in exactly the truth."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from stored_series import StoredSeries, stored_series

from core.candles import missing_spans
from core.gaps import GapStatus
from core.ranges import Span, subtract
from core.series import Series, parse_series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time
from db.connection import Database
from db.ledger import load_entries
from demo.candle_rows import Row
from demo.candle_store import CandleStore
from demo.generated_market import generate_series
from logic.gaps.checker import fill_missing
from logic.gaps.rechecks import recheck_gaps

NOW_MS = parse_time("2024-06-01")
CASES = {
    "BTCUSDT": Span(parse_time("2024-03-01"), parse_time("2024-03-02T06:00")),
    "BTCUSDT/5m": Span(parse_time("2024-03-30"), parse_time("2024-04-02")),
    "um:BTCUSDT/1h": Span(parse_time("2024-02-20"), parse_time("2024-03-10")),
    "cm:BTCUSD_PERP/12h": Span(parse_time("2023-12-01"), parse_time("2024-02-20")),
    "BTCUSDT/1d": Span(parse_time("2023-11-01"), parse_time("2024-02-01")),
    "BTCUSDT/1w": Span(parse_time("2022-01-03"), parse_time("2024-01-01")),
    "BTCUSDT/1M": Span(parse_time("2018-01-01"), parse_time("2024-01-01")),
}
OFF_GRID = Span(parse_time("2024-03-01T10:01"), parse_time("2024-03-01T15:00"))


@dataclass
class World:
    """A stored series, what the exchange has not published of it yet, and what was done so far."""

    stored: StoredSeries
    dice: random.Random
    late: list[list[Row]]  # runs of candles that the exchange may publish after all
    choice: AllowedSources
    waited_ms: int = 0
    done: list[str] = field(default_factory=list)

    def delete(self) -> None:
        rows = [row[0] for row in self.stored.rows()]
        if not rows:
            return
        match self.dice.choice(["one", "run", "sprinkle", "most"]):
            case "one":
                gone = [self.dice.choice(rows)]
            case "run":
                first = self.dice.randrange(len(rows))
                gone = rows[first : first + self.dice.randrange(1, 40)]
            case "sprinkle":
                gone = [ms for ms in rows if self.dice.random() < 0.1]
            case _:
                gone = [ms for ms in rows if self.dice.random() < 0.9]
        self.stored.delete(gone)

    def publish(self) -> None:
        if self.late:
            rows = self.late.pop(self.dice.randrange(len(self.late)))
            cut = self.dice.randrange(len(rows) + 1)
            self.stored.replay.store.add(self.stored.series, rows[:cut])
            if rows[cut:]:
                self.late.append(rows[cut:])

    def wait(self, ms: int | None = None) -> None:
        # Not so long in all that a gap's looks are over: then only verify would ask.
        ms = self.dice.choice((MS_PER_MINUTE, 31 * MS_PER_MINUTE, 5 * MS_PER_HOUR, MS_PER_DAY)) if ms is None else ms
        if self.waited_ms + ms <= 8 * MS_PER_DAY:
            self.waited_ms += ms
            self.pass_time(ms)

    def pass_time(self, ms: int) -> None:
        self.stored.replay.clock.advance(ms)
        self.stored.begin_run()

    def heal(self) -> None:
        """Search everything, or a part of it."""
        span, interval = self.stored.span, self.stored.series.interval
        count = interval.count(span.start_ms, span.end_ms)
        first, last = sorted(self.dice.sample(range(count + 1), 2))
        part = Span(interval.add(span.start_ms, first), interval.add(span.start_ms, last))
        fill_missing(self.stored.recheck(self.choice), [self.dice.choice((span, part))])

    def run(self) -> None:
        """Do what every run does."""
        recheck = self.stored.recheck(self.choice)
        due = [gap for gap in self.stored.gaps() if recheck.wants(gap)]
        if due:
            recheck_gaps(recheck, due)

    def step(self) -> None:
        name = self.dice.choice(["delete", "delete", "publish", "wait", "wait", "heal", "heal", "run"])
        self.done.append(name)
        getattr(self, name)()

    def lacking(self) -> list[Span]:
        """Return the slots for which the exchange has no candle now."""
        times = [int(str(row[0])) for row in self.stored.truth()]
        return missing_spans(times, self.stored.series.interval, self.stored.span)

    def hold_against_truth(self) -> None:
        """Whatever was done: nothing is made up, nothing that is there is called absent, the ledger is disjoint."""
        stored = self.stored
        truth = {row[0]: row for row in stored.truth()}
        rows = stored.rows()
        assert all(truth[row[0]] == row for row in rows), self.done
        gaps = stored.gaps()
        absent = [gap.span for gap in gaps if gap.status is GapStatus.NOT_AT_EXCHANGE]
        # What has been published since the last look may still be called absent; what was always there may not.
        assert subtract(absent, self.first_lacking) == [], self.done
        assert all(a.end_ms <= b.start_ms for a, b in pairwise(gap.span for gap in gaps)), self.done
        with stored.database.transaction("read") as tx:
            spans = [entry.span for entry in load_entries(tx, stored.series_id, stored.table)]
        assert all(a.end_ms == b.start_ms for a, b in pairwise(spans)), self.done
        assert (spans[0].start_ms, spans[-1].end_ms) == (stored.span.start_ms, stored.span.end_ms)
        check = stored.check()
        interval = stored.series.interval
        there = missing_spans([int(str(row[0])) for row in rows], interval, stored.span)
        unexplained = subtract(there, absent)
        count = sum(interval.count(span.start_ms, span.end_ms) for span in unexplained)
        assert (check.missing, check.extra_rows, check.altered) == (count, 0, ()), self.done
        if count:
            assert not check.is_complete

    first_lacking: list[Span] = field(default_factory=list)


def pieces_of(series: Series, span: Span, dice: random.Random) -> list[Span]:
    interval, count = series.interval, series.interval.count(span.start_ms, span.end_ms)
    cuts = sorted({0, count, *dice.sample(range(1, count), min(count - 1, dice.randrange(4)))})
    return [Span(interval.add(span.start_ms, a), interval.add(span.start_ms, b)) for a, b in pairwise(cuts)]


@pytest.mark.parametrize("number", [0, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 2, 3))])
@pytest.mark.parametrize("text", list(CASES))
def test_any_deletions_publications_and_heals_end_in_exactly_the_truth(
    database: Database, tmp_path: Path, seed: int, text: str, number: int
) -> None:
    series, span, dice = parse_series(text), CASES[text], random.Random(f"{seed}/{number}/{text}")
    interval = series.interval
    off_grid = (OFF_GRID,) if text == "BTCUSDT" else ()
    halts = (Span(OFF_GRID.start_ms - 5 * MS_PER_MINUTE, OFF_GRID.start_ms),) if off_grid else ()
    rows = list(generate_series(series, span, number, halts=halts, off_grid=off_grid))
    store = CandleStore()
    store.add(series, rows)
    late: list[list[Row]] = []
    for _ in range(3):
        first = dice.randrange(1, len(rows) - 2)
        run = [row for row in rows[first : first + dice.randrange(1, 30)] if row is not rows[-1]]
        there = {row[0] for row in store.rows(series)}
        if run := [row for row in run if row[0] in there]:
            late.append(run)
            for row in run:
                store.remove(series, Span(row[0], row[0] + 1))
    source = dice.choice([Source.REST, Source.ARCHIVE_MONTHLY])
    with stored_series(
        database, tmp_path, store, series, span, NOW_MS, pieces_of(series, span, dice), source
    ) as stored:
        # Some halts never end: those of the first series of candles that is held back.
        for_good = late.pop() if dice.random() < 0.5 else []
        choice = dice.choice([AllowedSources.AUTO, AllowedSources.AUTO, AllowedSources.REST])
        world = World(stored, dice, late, choice)
        world.first_lacking = world.lacking()
        fill_missing(stored.recheck(choice), [span])  # a backfill notes holes as it commits them
        for _ in range(14):
            world.step()
            world.hold_against_truth()
        while world.late:
            world.publish()
        for _ in range(3):
            world.pass_time(32 * MS_PER_DAY)
            fill_missing(stored.recheck(choice), [span])
            world.hold_against_truth()
        world.pass_time(31 * MS_PER_MINUTE)
        fill_missing(stored.recheck(choice), [span])
        assert stored.rows() == stored.truth(), world.done
        lacking = world.lacking()
        assert len(stored.rows()) == len(rows) - len(for_good)
        gaps = stored.gaps()
        assert all(gap.status is GapStatus.NOT_AT_EXCHANGE and gap.reason is not None for gap in gaps), world.done
        assert subtract([gap.span for gap in gaps], lacking) == subtract(lacking, [gap.span for gap in gaps]) == []
        check = stored.check()
        assert check.is_complete, (world.done, check)
        assert check.not_at_exchange == sum(interval.count(one.start_ms, one.end_ms) for one in lacking)
