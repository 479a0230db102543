from __future__ import annotations

from functools import cache
from itertools import chain
from random import Random

import pytest
from candles import batch_of
from servers import HAS_TIMESCALE

from core.columns import VALUE_NAMES
from core.instrument import Market
from core.intervals import INTERVALS, Interval
from core.ranges import Span
from core.series import Series, make_series
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time, to_datetime
from db.aggregates import AggregateDifference, find_aggregate_differences
from db.connection import Database
from db.operations import insert_candles
from db.schema import create_table_if_not_exists
from demo.aggregation import FINER, all_intervals
from demo.candle_rows import Row
from demo.decimal_text import SCALES, write_row
from demo.random_candles import random_candles
from demo.sessions import sessions, slots

MINUTES = make_series("spot", "BTCUSDT", "1m")
# Two months, the second one a leap February's; a halt over several hours, candles off the grid after another.
TWO_MONTHS = Span(parse_time("2024-01-01"), parse_time("2024-03-01"))
HALTS = (
    Span(parse_time("2024-01-10T01:07"), parse_time("2024-01-10T09:23")),
    Span(parse_time("2024-02-09T00:30"), parse_time("2024-02-09T09:58:30")),
)
OFF_GRID = (Span(HALTS[1].end_ms, HALTS[1].end_ms + MS_PER_HOUR),)
# Enough for intervals up to an hour, in tests that alter something.
MORNING = Span(parse_time("2024-01-20"), parse_time("2024-01-20T06:00"))


@cache
def market(span: Span) -> dict[str, list[Row]]:
    """Return the candles of every interval from 1m on, by its code, as the exchange would have them."""
    times = chain.from_iterable(slots(MINUTES.interval, one) for one in sessions(span, HALTS, OFF_GRID))
    minutes = list(random_candles(Market.SPOT, times, Random(1), 30_000, 0.01))
    scale = SCALES[Market.SPOT]
    return {
        interval.code: [write_row(scale, ticks) for ticks in candles]
        for interval, candles in all_intervals(minutes, ["1m", *FINER])
    }


def series_of(interval: Interval) -> Series:
    return make_series("spot", "BTCUSDT", interval.code)


def store(database: Database, interval: Interval, rows: list[Row]) -> None:
    series = series_of(interval)
    with database.transaction("store") as tx:
        create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
        insert_candles(tx, series.table_name, batch_of(rows))


def compare(database: Database, interval: Interval, span: Span) -> tuple[int, list[AggregateDifference]]:
    with database.transaction("compare") as tx:
        return find_aggregate_differences(tx, series_of(interval).table_name, MINUTES.table_name, interval, span)


def execute(database: Database, statement: str, *values: object) -> None:
    with database.transaction("execute") as tx:
        tx.cursor.execute(statement, values)


def on_grid(interval: Interval, span: Span) -> Span:
    """Return the whole slots inside `span`."""
    return Span(interval.ceil(span.start_ms), interval.floor(span.end_ms))


HOUR = INTERVALS["1h"]


@pytest.fixture
def morning(database: Database) -> Database:
    """A database with the 1m and 1h candles of six hours."""
    store(database, MINUTES.interval, market(MORNING)["1m"])
    store(database, HOUR, market(MORNING)["1h"])
    return database


def test_candles_of_every_interval_are_what_their_minutes_make(database: Database) -> None:
    made = market(TWO_MONTHS)
    assert any(row[0] % MS_PER_MINUTE for row in made["1m"]), "some candles are off the grid"
    store(database, MINUTES.interval, made["1m"])
    for code in FINER:
        interval = INTERVALS[code]
        span = on_grid(interval, TWO_MONTHS)
        rows = [row for row in made[code] if span.start_ms <= row[0] < span.end_ms]
        store(database, interval, rows)
        assert len(rows) > 1
        assert compare(database, interval, span) == (len(rows), []), code
    assert len(made["1h"]) == 60 * 24 - 7 - 8, "hours that lie in a halt have no candle"


def test_candles_outside_the_span_are_not_looked_at(database: Database) -> None:
    made = market(TWO_MONTHS)
    store(database, MINUTES.interval, made["1m"])
    for code in ("1d", "3d", "1w"):
        interval = INTERVALS[code]
        store(database, interval, made[code])
        whole = on_grid(interval, TWO_MONTHS)
        execute(database, f"update public.{series_of(interval).table_name} set close = 1")
        one = Span(interval.add(whole.start_ms, 1), interval.add(whole.start_ms, 2))
        compared, differences = compare(database, interval, one)
        assert (compared, [found.time_ms for found in differences]) == (1, [one.start_ms])


@pytest.mark.parametrize(
    "code", ["3m", "1w", "1M", *(pytest.param(code, marks=pytest.mark.long) for code in ("1h", "1d", "3d"))]
)
def test_each_altered_candle_is_found_whatever_the_interval(database: Database, code: str) -> None:
    interval, made = INTERVALS[code], market(TWO_MONTHS)
    span = on_grid(interval, TWO_MONTHS)
    rows = [row for row in made[code] if span.start_ms <= row[0] < span.end_ms]
    store(database, MINUTES.interval, made["1m"])
    store(database, interval, rows)
    altered = sorted(Random(code).sample([row[0] for row in rows], 2))
    table = series_of(interval).table_name
    execute(
        database,
        f"update public.{table} set trades = trades + 1 where time = any(%s)",
        [to_datetime(ms) for ms in altered],
    )
    compared, differences = compare(database, interval, span)
    assert (compared, [found.time_ms for found in differences]) == (len(rows), altered)


@pytest.mark.parametrize("name", VALUE_NAMES)
@pytest.mark.parametrize("side", ["longer", "minute"])
def test_each_altered_value_is_found_and_named(morning: Database, name: str, side: str) -> None:
    time_ms = MORNING.start_ms + 2 * MS_PER_HOUR
    # Of the minutes that one is altered which decides: the last for the close, any one for sums and extremes.
    minute_ms = time_ms + (59 * MS_PER_MINUTE if name == "close" else 0)
    change = f"{name} - 20000" if name == "low" else f"{name} + 20000"
    table, at_ms = (series_of(HOUR).table_name, time_ms) if side == "longer" else (MINUTES.table_name, minute_ms)
    before = {row[0]: row for row in market(MORNING)["1h"]}[time_ms]
    execute(morning, f"update public.{table} set {name} = {change} where time = %s", to_datetime(at_ms))
    compared, (found,) = compare(morning, HOUR, MORNING)
    assert (compared, found.time_ms) == (6, time_ms)
    (told,) = found.differing()
    words = told.split()
    assert (words[0], words[1], words[3]) == (name, "stored", "made")
    assert found.stored is not None
    assert found.made is not None
    right = found.made if side == "longer" else found.stored
    assert [float(value) for value in right] == [float(before[i]) for i in (1, 2, 3, 4, 5, 7, 8, 9, 10)]
    assert words[2] != words[4]


def test_several_altered_values_of_one_candle_are_told_together(morning: Database) -> None:
    table = series_of(HOUR).table_name
    execute(
        morning,
        f"update public.{table} set open = 1.50, close = 2, trades = 7 where time = %s",
        to_datetime(MORNING.start_ms),
    )
    _, (found,) = compare(morning, HOUR, MORNING)
    told = found.differing()
    assert [text.split()[0] for text in told] == ["open", "close", "trades"]
    assert told[0].startswith("open stored 1.5 made ")


def test_other_trailing_zeros_are_no_difference(morning: Database) -> None:
    table = series_of(HOUR).table_name
    execute(morning, f"update public.{table} set volume = volume + 0.000000000000, open = trim_scale(open)")
    assert compare(morning, HOUR, MORNING) == (6, [])


def test_a_difference_in_the_last_of_many_digits_is_found(morning: Database) -> None:
    table = series_of(HOUR).table_name
    execute(
        morning,
        f"update public.{table} set volume = volume + 0.000000000000000001 where time = %s",
        to_datetime(MORNING.start_ms),
    )
    _, (found,) = compare(morning, HOUR, MORNING)
    assert [text.split()[0] for text in found.differing()] == ["volume"]


def test_a_longer_candle_that_is_missing_is_told(morning: Database) -> None:
    time_ms = MORNING.start_ms + 3 * MS_PER_HOUR
    execute(morning, f"delete from public.{series_of(HOUR).table_name} where time = %s", to_datetime(time_ms))
    compared, (found,) = compare(morning, HOUR, MORNING)
    assert (compared, found.time_ms, found.stored) == (5, time_ms, None)
    assert found.made is not None
    assert found.differing() == ["no candle stored"]


def test_a_longer_candle_whose_minutes_are_all_missing_is_told(morning: Database) -> None:
    time_ms = MORNING.start_ms + 3 * MS_PER_HOUR
    execute(
        morning,
        f"delete from public.{MINUTES.table_name} where time >= %s and time < %s",
        to_datetime(time_ms),
        to_datetime(time_ms + MS_PER_HOUR),
    )
    compared, (found,) = compare(morning, HOUR, MORNING)
    assert (compared, found.time_ms, found.made) == (6, time_ms, None)
    assert found.stored is not None
    assert found.differing() == ["no 1m candle stored"]


def test_one_missing_minute_shows_in_the_sums(morning: Database) -> None:
    time_ms = MORNING.start_ms + 3 * MS_PER_HOUR
    minute = next(row for row in market(MORNING)["1m"] if row[0] > time_ms and row[8])
    execute(morning, f"delete from public.{MINUTES.table_name} where time = %s", to_datetime(minute[0]))
    _, (found,) = compare(morning, HOUR, MORNING)
    assert found.time_ms == time_ms
    assert {"volume", "quote_volume", "trades"} <= {text.split()[0] for text in found.differing()}


def test_differences_come_in_order_of_time(morning: Database) -> None:
    times = [MORNING.start_ms + i * MS_PER_HOUR for i in range(6)]
    table = series_of(HOUR).table_name
    execute(morning, f"delete from public.{table} where time = %s", to_datetime(times[4]))
    execute(
        morning, f"update public.{table} set close = 1 where time = any(%s)", [to_datetime(times[i]) for i in (5, 0)]
    )
    execute(
        morning,
        f"delete from public.{MINUTES.table_name} where time >= %s and time < %s",
        to_datetime(times[2]),
        to_datetime(times[3]),
    )
    compared, differences = compare(morning, HOUR, MORNING)
    assert compared == 5
    assert [found.time_ms for found in differences] == [times[i] for i in (0, 2, 4, 5)]


def test_a_longer_candle_off_its_grid_is_held_against_the_slot_that_it_falls_in(morning: Database) -> None:
    table = series_of(HOUR).table_name
    shifted = MORNING.start_ms + 2 * MS_PER_HOUR + 17
    execute(
        morning, f"update public.{table} set time = %s where time = %s", to_datetime(shifted), to_datetime(shifted - 17)
    )
    assert compare(morning, HOUR, MORNING) == (6, [])
    execute(morning, f"update public.{table} set close = 1 where time = %s", to_datetime(shifted))
    _, (found,) = compare(morning, HOUR, MORNING)
    assert found.time_ms == shifted


def test_a_span_without_any_candle_has_nothing_to_compare(morning: Database) -> None:
    later = Span(MORNING.end_ms + MS_PER_DAY, MORNING.end_ms + 2 * MS_PER_DAY)
    assert compare(morning, HOUR, later) == (0, [])
