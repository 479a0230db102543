"""From what is missing to chunks: nothing twice, nothing left out, and the cheapest source."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.archives import NO_ARCHIVES, ArchiveIndex, day_of, month_of
from core.binance.rules import BinanceRules, page_rows
from core.instrument import Market
from core.intervals import INTERVALS
from core.plan import NOTHING, Chunk, Estimate, FetchOptions, Plan, estimate, finer_chunks, make_plan, rest_chunk_rows
from core.ranges import Span, merge, total_ms
from core.series import Series, parse_series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, add_months, parse_time

AUTO, ARCHIVE, REST = AllowedSources.AUTO, AllowedSources.ARCHIVE, AllowedSources.REST
FIRST_DAY, LAST_DAY = parse_time("2023-11-01"), parse_time("2024-03-01")
ALL_DAYS = range(FIRST_DAY, LAST_DAY, MS_PER_DAY)
ALL_MONTHS = [add_months(FIRST_DAY, number) for number in range(4)]
EVERYTHING = ArchiveIndex(frozenset(ALL_MONTHS), frozenset(ALL_DAYS))
ONLY_DAYS = ArchiveIndex(frozenset(), EVERYTHING.days)
ONLY_MONTHS = ArchiveIndex(EVERYTHING.months, frozenset())

BTC = parse_series("BTCUSDT/1m")
UM_BTC = parse_series("um:BTCUSDT/1m")


@dataclass(frozen=True, slots=True)
class Choice:
    """FetchOptions for any series."""

    allowed: AllowedSources
    page_rows: int
    chunk_days: int

    def of(self, series: Series) -> FetchOptions:
        return FetchOptions(series, BinanceRules(series, self.page_rows), self.allowed, self.chunk_days)


RULES = Choice(AUTO, page_rows=1000, chunk_days=1)

instants = st.integers(0, (LAST_DAY - FIRST_DAY) // MS_PER_MINUTE).map(lambda n: FIRST_DAY + n * MS_PER_MINUTE)
spans = st.tuples(instants, instants).filter(lambda ends: ends[0] != ends[1]).map(lambda ends: Span(*sorted(ends)))
short_spans = st.builds(
    lambda start_ms, minutes: Span(start_ms, start_ms + minutes * MS_PER_MINUTE), instants, st.integers(1, 4_000)
)
missing = st.lists(spans | short_spans, max_size=5)
published_files = st.one_of(
    st.sampled_from([EVERYTHING, ONLY_DAYS, ONLY_MONTHS, NO_ARCHIVES]),
    st.builds(
        ArchiveIndex,
        st.frozensets(st.sampled_from(ALL_MONTHS)),
        st.frozensets(st.sampled_from(ALL_DAYS), max_size=60),
    ),
)
any_series = st.sampled_from(
    [
        "BTCUSDT/1s",
        "BTCUSDT/1m",
        "BTCUSDT/5m",
        "BTCUSDT/1h",
        "BTCUSDT/1d",
        "BTCUSDT/3d",
        "BTCUSDT/1w",
        "BTCUSDT/1M",
        "um:BTCUSDT/1m",
        "um:BTCUSDT/4h",
        "cm:BTCUSD_PERP/1m",
        "cm:BTCUSD_PERP/1M",
    ]
).map(parse_series)


def rules_for(*choices: AllowedSources) -> st.SearchStrategy[Choice]:
    return st.builds(Choice, st.sampled_from(choices), st.sampled_from([1, 499, 1000, 1500]), st.integers(1, 31))


any_rules = rules_for(*AllowedSources)


def span(start: str, end: str) -> Span:
    return Span(parse_time(start), parse_time(end))


def sources(plan: Plan) -> list[Source]:
    return [chunk.source for chunk in plan.chunks]


@given(any_series, missing, published_files, rules_for(AUTO, REST))
def test_chunks_cover_exactly_what_is_missing(
    series: Series, uncovered: list[Span], published: ArchiveIndex, rules: Choice
) -> None:
    plan = make_plan(rules.of(series), uncovered, published)
    assert merge(chunk.span for chunk in plan.chunks) == merge(uncovered)
    assert plan.unserved == ()


@given(any_series, missing, published_files, rules_for(ARCHIVE))
def test_from_archives_alone_chunks_and_unserved_cover_exactly_what_is_missing(
    series: Series, uncovered: list[Span], published: ArchiveIndex, rules: Choice
) -> None:
    plan = make_plan(rules.of(series), uncovered, published)
    pieces = [chunk.span for chunk in plan.chunks] + list(plan.unserved)
    assert merge(pieces) == merge(uncovered)
    assert total_ms(pieces) == total_ms(merge(uncovered))
    assert Source.REST not in sources(plan)


@given(any_series, missing, published_files, any_rules)
def test_chunks_are_ordered_and_disjoint(
    series: Series, uncovered: list[Span], published: ArchiveIndex, rules: Choice
) -> None:
    chunks = make_plan(rules.of(series), uncovered, published).chunks
    assert all(left.span.end_ms <= right.span.start_ms for left, right in itertools.pairwise(chunks))


@given(any_series, missing, published_files, any_rules)
def test_archive_chunks_use_published_files_and_stay_inside_them(
    series: Series, uncovered: list[Span], published: ArchiveIndex, rules: Choice
) -> None:
    for chunk in make_plan(rules.of(series), uncovered, published).chunks:
        if chunk.source is Source.REST:
            assert chunk.period is None
            continue
        assert chunk.period is not None
        assert published.has(chunk.period)
        assert f"archive-{chunk.period.cadence}" == chunk.source
        assert chunk.period.span.intersect(chunk.span) == chunk.span


@given(any_series, missing, published_files, any_rules)
def test_rest_alone_never_takes_a_file(
    series: Series, uncovered: list[Span], published: ArchiveIndex, rules: Choice
) -> None:
    only_rest = Choice(REST, rules.page_rows, rules.chunk_days)
    assert set(sources(make_plan(only_rest.of(series), uncovered, published))) <= {Source.REST}


@given(st.sampled_from(["BTCUSDT/1s", "BTCUSDT/1m"]).map(parse_series), missing, rules_for(AUTO, REST))
def test_rest_chunks_of_minutes_are_at_most_chunk_days_and_a_page_long(
    series: Series, uncovered: list[Span], rules: Choice
) -> None:
    for chunk in make_plan(rules.of(series), uncovered, NO_ARCHIVES).chunks:
        page_ms = rules.page_rows * series.interval.typical_ms
        assert chunk.span.end_ms - chunk.span.start_ms < rules.chunk_days * MS_PER_DAY + page_ms


@given(any_series, missing, any_rules)
def test_planning_what_is_planned_changes_nothing(series: Series, uncovered: list[Span], rules: Choice) -> None:
    assert make_plan(rules.of(series), iter(uncovered), EVERYTHING) == make_plan(
        rules.of(series), merge(uncovered), EVERYTHING
    )


def test_eight_years_of_days_are_a_handful_of_chunks() -> None:
    years = span("2017-08-17", "2025-08-17")
    plan = make_plan(RULES.of(parse_series("BTCUSDT/1d")), [years], NO_ARCHIVES)
    assert len(plan.chunks) == 3
    assert estimate(RULES.of(parse_series("BTCUSDT/1d")), plan.chunks).requests == 3


@pytest.mark.parametrize(
    ("code", "page_rows", "chunk_days", "rows"),
    [
        ("1m", 1000, 1, 2000),
        ("1m", 499, 1, 1497),
        ("1m", 1000, 7, 11_000),
        ("1h", 1000, 1, 1000),
        ("1d", 1000, 31, 1000),
        ("1M", 1000, 31, 1000),
        ("1s", 1000, 1, 87_000),
    ],
)
def test_a_rest_chunk_holds_chunk_days_in_whole_pages(code: str, page_rows: int, chunk_days: int, rows: int) -> None:
    assert rest_chunk_rows(Choice(REST, page_rows, chunk_days).of(parse_series(f"BTCUSDT/{code}"))) == rows


@given(
    st.sampled_from([Market.SPOT, Market.UM, Market.CM]),
    st.sampled_from(["1m", "3m", "1h", "1d"]),
    st.integers(0, 3_000),
    st.integers(1, 40_000),
)
def test_every_page_of_a_rest_plan_is_full_but_the_last(market: Market, code: str, first: int, rows: int) -> None:
    interval = INTERVALS[code]
    series = parse_series(f"{market}:BTCUSDT/{code}")
    start_ms = interval.add(interval.ceil(parse_time("2020-01-01")), first)
    whole = Span(start_ms, interval.add(start_ms, rows))
    per_page = page_rows(market, None)
    plan = make_plan(Choice(REST, per_page, 1).of(series), [whole], NO_ARCHIVES)
    held = [
        interval.count(page.start_ms, page.end_ms)
        for chunk in plan.chunks
        for page in BinanceRules(series, per_page).pages(chunk.span)
    ]
    assert sum(held) == rows
    if market is not Market.CM or code not in ("1h", "1d"):  # COIN-M allows 200 days at most
        assert held[:-1] == [per_page] * (len(held) - 1)


def test_a_two_hour_hole_in_an_old_month_goes_by_rest() -> None:
    hole = span("2023-11-24T12:00", "2023-11-24T14:00")
    assert make_plan(RULES.of(BTC), [hole], EVERYTHING) == Plan((Chunk(hole, Source.REST),))


@pytest.mark.parametrize("series", [BTC, UM_BTC])
def test_a_whole_past_month_goes_by_its_monthly_file(series: Series) -> None:
    month = month_of(parse_time("2024-01-01"))
    plan = make_plan(RULES.of(series), [month.span], EVERYTHING)
    assert plan.chunks == (Chunk(month.span, Source.ARCHIVE_MONTHLY, month),)


def test_most_of_a_month_goes_by_its_monthly_file_and_takes_no_more_than_is_missing() -> None:
    most = span("2024-01-04T07:00", "2024-01-31T12:00")
    plan = make_plan(RULES.of(BTC), [most], EVERYTHING)
    assert plan.chunks == (Chunk(most, Source.ARCHIVE_MONTHLY, month_of(most.start_ms)),)


def test_three_months_and_two_days_are_three_monthly_files_and_two_daily_ones() -> None:
    published = ArchiveIndex(frozenset(ALL_MONTHS[:3]), EVERYTHING.days)
    plan = make_plan(RULES.of(BTC), [span("2023-11-01", "2024-02-03")], published)
    assert sources(plan) == [Source.ARCHIVE_MONTHLY] * 3 + [Source.ARCHIVE_DAILY] * 2


def test_a_past_day_of_minutes_goes_by_its_daily_file_while_the_months_file_is_not_out() -> None:
    day = day_of(parse_time("2024-02-07"))
    assert make_plan(RULES.of(BTC), [day.span], ONLY_DAYS).chunks == (Chunk(day.span, Source.ARCHIVE_DAILY, day),)


def test_a_day_whose_file_is_not_out_goes_by_rest() -> None:
    published = ArchiveIndex(frozenset(), frozenset({parse_time("2024-02-06")}))
    plan = make_plan(RULES.of(BTC), [span("2024-02-06", "2024-02-08")], published)
    assert sources(plan) == [Source.ARCHIVE_DAILY, Source.REST]


def test_seconds_never_go_by_monthly_files() -> None:
    seconds = parse_series("BTCUSDT/1s")
    january = span("2024-01-01", "2024-02-01")
    assert sources(make_plan(RULES.of(seconds), [january], EVERYTHING)) == [Source.ARCHIVE_DAILY] * 31
    assert sources(make_plan(RULES.of(seconds), [january], ONLY_MONTHS)) == [Source.REST] * 31
    only_archives = Choice(ARCHIVE, 1000, 1)
    assert make_plan(only_archives.of(seconds), [january], ONLY_MONTHS) == Plan((), (january,))


def test_a_month_of_days_goes_by_rest_where_one_page_holds_years() -> None:
    plan = make_plan(RULES.of(parse_series("BTCUSDT/1d")), [span("2024-01-01", "2024-02-01")], EVERYTHING)
    assert sources(plan) == [Source.REST]


def test_from_archives_alone_a_two_hour_hole_takes_a_file_all_the_same() -> None:
    hole = span("2023-11-24T12:00", "2023-11-24T14:00")
    only_archives = Choice(ARCHIVE, 1000, 1)
    day = day_of(hole.start_ms)
    assert make_plan(only_archives.of(BTC), [hole], EVERYTHING).chunks == (Chunk(hole, Source.ARCHIVE_DAILY, day),)
    month = month_of(hole.start_ms)
    assert make_plan(only_archives.of(BTC), [hole], ONLY_MONTHS).chunks == (Chunk(hole, Source.ARCHIVE_MONTHLY, month),)
    assert make_plan(only_archives.of(BTC), [hole], NO_ARCHIVES) == Plan((), (hole,))


def test_nothing_missing_is_nothing_to_do() -> None:
    assert make_plan(RULES.of(BTC), [], EVERYTHING) == Plan(())


def test_a_chunk_reads_as_its_span_and_source() -> None:
    assert str(Chunk(span("2024-02-06", "2024-02-07"), Source.REST)) == "2024-02-06 .. 2024-02-07 from rest"


def monthly(month: str) -> Chunk:
    period = month_of(parse_time(month))
    return Chunk(period.span, Source.ARCHIVE_MONTHLY, period)


def test_a_monthly_file_that_cannot_be_used_is_replaced_by_days() -> None:
    plan = finer_chunks(RULES.of(BTC), monthly("2024-02-01"), EVERYTHING)
    assert sources(plan) == [Source.ARCHIVE_DAILY] * 29
    assert merge(chunk.span for chunk in plan.chunks) == [monthly("2024-02-01").span]


def test_the_days_of_a_bad_monthly_file_are_tried_though_they_were_not_listed() -> None:
    plan = finer_chunks(RULES.of(BTC), monthly("2024-02-01"), ONLY_MONTHS)
    assert sources(plan) == [Source.ARCHIVE_DAILY] * 29


def test_a_daily_file_that_cannot_be_used_is_replaced_by_rest() -> None:
    day = day_of(parse_time("2024-02-07"))
    chunk = Chunk(day.span, Source.ARCHIVE_DAILY, day)
    assert finer_chunks(RULES.of(BTC), chunk, EVERYTHING) == Plan((Chunk(day.span, Source.REST),))
    assert finer_chunks(Choice(ARCHIVE, 1000, 1).of(BTC), chunk, EVERYTHING) == Plan((), (day.span,))


@given(any_series, missing, published_files, any_rules)
def test_finer_chunks_cover_the_chunk_they_replace_without_its_file(
    series: Series, uncovered: list[Span], published: ArchiveIndex, rules: Choice
) -> None:
    for chunk in make_plan(rules.of(series), uncovered, published).chunks[:3]:
        finer = finer_chunks(rules.of(series), chunk, published)
        assert merge([*(one.span for one in finer.chunks), *finer.unserved]) == [chunk.span]
        assert chunk.source is Source.REST or all(one.period != chunk.period for one in finer.chunks)


@given(any_series, missing, published_files, any_rules, st.integers(0, 10))
def test_estimates_add_up(
    series: Series, uncovered: list[Span], published: ArchiveIndex, rules: Choice, cut: int
) -> None:
    chunks = make_plan(rules.of(series), uncovered, published).chunks
    total = estimate(rules.of(series), chunks)
    assert total == estimate(rules.of(series), chunks[:cut]) + estimate(rules.of(series), chunks[cut:])
    assert sum(total.chunks.values()) == len(chunks)
    assert total.rows == sum(series.interval.count(one.span.start_ms, one.span.end_ms) for one in chunks)


def test_no_chunks_cost_nothing() -> None:
    assert estimate(RULES.of(BTC), []) == NOTHING
    assert NOTHING.seconds(4800, workers=4) == 0


@pytest.mark.parametrize(
    ("text", "page_rows", "hours", "requests", "weight"),
    [
        ("BTCUSDT/1m", 1000, 24, 2, 4),
        ("BTCUSDT/1m", 1000, 2, 1, 2),
        ("um:BTCUSDT/1m", 499, 24, 3, 6),
        ("um:BTCUSDT/1m", 1500, 24, 1, 10),  # 1440 rows
        ("um:BTCUSDT/1m", 1000, 24, 2, 7),  # 1000 rows weigh 5, 440 weigh 2
        ("um:BTCUSDT/1m", 499, 1, 1, 1),  # 60 rows
        ("cm:BTCUSD_PERP/1m", 499, 2, 1, 2),  # 120 rows
        ("cm:BTCUSD_PERP/1m", 499, 10, 2, 4),  # 499 and 101 rows
    ],
)
def test_rest_costs_the_weight_of_the_contract(
    text: str, page_rows: int, hours: int, requests: int, weight: int
) -> None:
    series = parse_series(text)
    start_ms = parse_time("2024-02-07")
    chunk = Chunk(Span(start_ms, start_ms + hours * MS_PER_HOUR), Source.REST)
    cost = estimate(Choice(REST, page_rows, 1).of(series), [chunk])
    assert (cost.requests, cost.weight, cost.rows) == (requests, weight, hours * 60)
    assert cost.chunks == {"rest": 1}


def test_archives_cost_two_requests_and_no_weight() -> None:
    cost = estimate(RULES.of(BTC), [monthly("2024-01-01")])
    assert (cost.chunks, cost.requests, cost.weight, cost.rows) == ({"archive-monthly": 1}, 2, 0, 44_640)
    assert 2_000_000 < cost.bytes < 2_500_000  # as measured: 2.2 MB


def test_the_slowest_of_budget_requests_and_database_decides_the_duration() -> None:
    assert Estimate({}, 0, 0, 9_600, 0).seconds(4_800, workers=4) == 120
    assert Estimate({}, 0, 0, 4_800, 0).seconds(4_800, workers=4) == 0  # fits the budget of this minute
    assert Estimate({}, 0, 400, 0, 0).seconds(4_800, workers=4) == pytest.approx(15)
    assert Estimate({}, 4_000_000, 400, 0, 0).seconds(4_800, workers=4) == 200
