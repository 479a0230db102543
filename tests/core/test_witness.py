"""When a second source confirms or contradicts a candle: two of three decide, and silence decides nothing."""

from __future__ import annotations

import pytest
from candles import generated_batch
from hypothesis import given
from hypothesis import strategies as st

from core.candles import CandleBatch
from core.compare import Kind
from core.intervals import INTERVALS
from core.listing import ListingPeriod
from core.longer import make_longer
from core.ranges import Span
from core.series import make_series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time
from core.witness import bucket_interval, can_witness, differing_buckets, judge, whole_buckets, witness_interval

HOUR = INTERVALS["1h"]
START = parse_time("2024-03-01")
BUCKET = Span(START, START + MS_PER_HOUR)
TRUTH = generated_batch(make_series("spot", "BTCUSDT", "15m"), BUCKET)
LONGER = make_longer(TRUTH, HOUR)


def altered(batch: CandleBatch, row: int, column: str = "volume", value: object = "0.00000001") -> CandleBatch:
    rows = batch.columns.to_pylist()
    rows[row][column] = value
    return CandleBatch(type(batch.columns).from_pylist(rows, batch.columns.schema))


def without(batch: CandleBatch, row: int) -> CandleBatch:
    rows = batch.columns.to_pylist()
    return CandleBatch(type(batch.columns).from_pylist(rows[:row] + rows[row + 1 :], batch.columns.schema))


@pytest.mark.parametrize(
    ("code", "witness", "bucket"),
    [
        *((code, "1h", "1h") for code in ("1s", "1m", "3m", "5m", "15m", "30m")),
        *((code, "1d", "1d") for code in ("1h", "2h", "4h", "6h", "8h", "12h")),
        ("1d", "1h", "1d"),
        *((code, "1d", code) for code in ("3d", "1w", "1M")),
    ],
)
def test_each_interval_has_its_witness(code: str, witness: str, bucket: str) -> None:
    assert witness_interval(INTERVALS[code]) is INTERVALS[witness]
    assert bucket_interval(INTERVALS[code]) is INTERVALS[bucket]


def test_a_source_does_not_witness_itself_but_another_file_does_where_nothing_else_is_allowed() -> None:
    auto, only_archives = AllowedSources.AUTO, AllowedSources.ARCHIVE
    assert can_witness(Source.REST, Source.ARCHIVE_DAILY, auto) and can_witness(
        Source.ARCHIVE_MONTHLY, Source.REST, auto
    )
    assert not can_witness(Source.REST, Source.REST, auto)
    assert not can_witness(Source.ARCHIVE_MONTHLY, Source.ARCHIVE_DAILY, auto)
    assert can_witness(Source.ARCHIVE_MONTHLY, Source.ARCHIVE_DAILY, only_archives)


def test_whole_buckets_reach_beyond_a_listing_and_not_beyond_what_is_stored() -> None:
    half = 30 * MS_PER_MINUTE
    stored = [Span(START + half, START + 3 * MS_PER_HOUR + half)]
    inner = Span(START + MS_PER_HOUR, START + 3 * MS_PER_HOUR)
    assert whole_buckets(HOUR, stored, ListingPeriod()) == [inner]
    listed = ListingPeriod(first_ms=START + half, end_ms=START + 3 * MS_PER_HOUR + half)
    assert whole_buckets(HOUR, stored, listed) == [Span(START, START + 4 * MS_PER_HOUR)]
    assert whole_buckets(HOUR, [Span(START + half, START + half + MS_PER_MINUTE)], ListingPeriod()) == []


@given(st.sets(st.integers(0, 23), max_size=5))
def test_the_buckets_that_differ_are_those_that_were_altered(hours: set[int]) -> None:
    span = Span(START, START + MS_PER_DAY)
    truth = generated_batch(make_series("spot", "BTCUSDT", "15m"), span)
    stored = truth
    for hour in hours:
        stored = altered(stored, 4 * hour + 2)
    found = differing_buckets(make_longer(stored, HOUR), make_longer(truth, HOUR), HOUR)
    assert found == [HOUR.slot_of(START + hour * MS_PER_HOUR) for hour in sorted(hours)]


def test_one_equal_source_confirms_whatever_the_other_says() -> None:
    assert judge(TRUTH, [TRUTH, altered(TRUTH, 1)], altered(LONGER, 0), HOUR).is_confirmed
    assert judge(TRUTH, [without(TRUTH, 1), TRUTH], LONGER, HOUR).is_confirmed
    assert judge(TRUTH, [TRUTH], altered(LONGER, 0), HOUR).is_confirmed


def test_two_that_agree_with_each_other_contradict() -> None:
    judged = judge(altered(TRUTH, 1), [TRUTH, TRUTH], LONGER, HOUR)
    [one] = judged.contradicted
    assert (one.kind, one.time_ms, judged.undecided) == (Kind.DIFFERENT, START + 15 * MS_PER_MINUTE, ())
    [lacking] = judge(without(TRUTH, 1), [TRUTH, TRUTH], LONGER, HOUR).contradicted
    assert lacking.kind is Kind.MISSING
    [extra] = judge(TRUTH, [without(TRUTH, 1), without(TRUTH, 1)], LONGER, HOUR).contradicted
    assert extra.kind is Kind.EXTRA


def test_one_contradicts_only_together_with_the_longer_candle_that_its_candles_make() -> None:
    assert len(judge(altered(TRUTH, 1), [TRUTH], LONGER, HOUR).contradicted) == 1
    undecided = judge(altered(TRUTH, 1), [TRUTH], altered(LONGER, 0, "trades", 1), HOUR)
    assert undecided.contradicted == () and len(undecided.undecided) == 1


def test_what_one_source_lacks_contradicts_nothing_even_if_the_longer_candle_fits() -> None:
    lacks = without(TRUTH, 1)
    judged = judge(TRUTH, [lacks], make_longer(lacks, HOUR), HOUR)
    assert judged.contradicted == () and judged.undecided == (START + 15 * MS_PER_MINUTE,)


def test_three_that_differ_decide_nothing() -> None:
    judged = judge(altered(TRUTH, 1), [TRUTH, altered(TRUTH, 1, "trades", 1)], LONGER, HOUR)
    assert judged.contradicted == () and len(judged.undecided) == 1


def test_without_another_source_nothing_is_decided() -> None:
    judged = judge(altered(TRUTH, 1), [], LONGER, HOUR)
    assert judged.contradicted == () and len(judged.undecided) == 4


@given(st.data())
def test_whoever_is_wrong_alone_is_outvoted(data: st.DataObject) -> None:
    """One of three sources has any number of wrong or lacking candles: the table becomes, or stays, the truth."""
    wrong = TRUTH
    for row in sorted(data.draw(st.sets(st.integers(0, 3), min_size=1)), reverse=True):
        wrong = without(wrong, row) if data.draw(st.booleans()) else altered(wrong, row)
    sources = [TRUTH, TRUTH, TRUTH]
    place = data.draw(st.integers(0, 2))
    sources[place] = wrong
    judged = judge(sources[0], sources[1:], LONGER, HOUR)
    assert judged.undecided == ()
    differing = {one["open_time"] for one in wrong.columns.to_pylist() if one not in TRUTH.columns.to_pylist()}
    differing |= set(TRUTH.open_times()) - set(wrong.open_times())
    assert {one.time_ms for one in judged.contradicted} == (differing if place == 0 else set())


def test_an_empty_table_and_empty_sources_agree() -> None:
    nothing = CandleBatch.empty()
    assert judge(nothing, [nothing], nothing, HOUR).is_confirmed
    assert differing_buckets(nothing, nothing, HOUR) == []
