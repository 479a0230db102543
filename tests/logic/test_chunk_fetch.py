"""Archives that lack rows, lie or are missing: every chunk still ends with what the exchange has."""

from __future__ import annotations

import hashlib
import io
import itertools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from candles import truth_rows
from generated import generated_store

from core.archives import Cadence, Period, month_of
from core.binance.archives import file_stem, folder
from core.candles import CandleBatch
from core.columns import SCHEMA
from core.fetched import FetchedChunk, FetchedSpan
from core.instrument import Market
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY, MS_PER_MINUTE, parse_time
from core.wanted import WantedSeries
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import AlterBody, AlterRows, Answer
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from fetcher.addresses import ExchangeAddresses
from fetcher.binance.exchange import BinanceExchange
from logic.fetching.chunk_fetch import fetch_chunk
from logic.planning.listing import StoredCoverage
from logic.planning.series_plan import FetchPolicy, SeriesPlan, plan_series

BTC = parse_series("BTCUSDT")
MONTH = Span(parse_time("2024-03-01"), parse_time("2024-04-01"))
NOW_MS = parse_time("2024-05-01T10:00")


@pytest.fixture
def replay() -> Iterator[ReplayExchange]:
    store = generated_store(BTC, Span(MONTH.start_ms, NOW_MS), 3)
    with ReplayExchange(store, ReplayClock(NOW_MS, speed=0.0)) as exchange:
        yield exchange


def exchange_of(replay: ReplayExchange, tmp_path: Path) -> BinanceExchange:
    addresses = ExchangeAddresses(
        api_urls=dict.fromkeys(("spot", "um", "cm"), replay.url),
        archive_url=replay.archive_url,
        archive_list_url=replay.archive_list_url,
        weight_share=0.8,
        page_limit=None,
        workers=2,
        state_dir=tmp_path,
    )
    exchange = BinanceExchange(addresses, sleep=lambda _seconds: None, local_now_ms=replay.clock.now_ms)
    exchange.open_market(Market.SPOT, None)
    return exchange


def plan_of(
    exchange: BinanceExchange, span: Span, allowed: AllowedSources = AllowedSources.AUTO, series: Series = BTC
) -> SeriesPlan:
    symbols = exchange.open_market(series.market, None) if allowed.rest else None
    wanted = WantedSeries(series, span.start_ms, span.end_ms)
    return plan_series(wanted, symbols, StoredCoverage(), exchange, FetchPolicy(allowed, chunk_days=1))


def fetched_chunks(exchange: BinanceExchange, plan: SeriesPlan) -> list[FetchedChunk]:
    """Return what the plan's chunks bring, without the edges that are no gaps: what a backfill commits."""
    edges = plan.edges
    assert edges is not None
    now_ms = exchange.now_ms(BTC.market)
    parts = [fetch_chunk(plan.options, chunk, plan.published, exchange) for chunk in plan.chunks]
    return [edges.exclude(part, now_ms) for part in parts]


def fetch_all(exchange: BinanceExchange, plan: SeriesPlan) -> tuple[list[FetchedSpan], list[Span]]:
    parts = fetched_chunks(exchange, plan)
    return [span for part in parts for span in part.spans], [hole for part in parts for hole in part.uncovered]


def holes_of(exchange: BinanceExchange, plan: SeriesPlan) -> list[tuple[Span, set[str]]]:
    """Return the holes of a plan's chunks and which sources were asked about them."""
    parts = fetched_chunks(exchange, plan)
    return [(hole.span, {str(answer.source) for answer in hole.answers}) for part in parts for hole in part.holes]


def rows_of(spans: list[FetchedSpan]) -> list[tuple[object, ...]]:
    table = CandleBatch.concat([span.batch for span in spans]).columns
    lists = [table[name].to_pylist() for name in SCHEMA.names]
    return [(row[0], *map(str, row[1:])) for row in zip(*lists, strict=True)]


def assert_truth(replay: ReplayExchange, spans: list[FetchedSpan], whole: Span) -> None:
    assert rows_of(spans) == truth_rows(replay.store.rows(BTC, whole.start_ms, whole.end_ms))
    edges = [span.span for span in spans]
    assert edges[0].start_ms == whole.start_ms and edges[-1].end_ms == whole.end_ms
    assert all(left.end_ms == right.start_ms for left, right in itertools.pairwise(edges))


def serve_altered(replay: ReplayExchange, period: Period, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Let the archive of `period` be served with other rows under a checksum that fits them."""
    path = f"/{folder(BTC, period.cadence)}{file_stem(BTC, period)}.zip"
    original = requests.get(replay.archive_url + path, timeout=30).content
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        name = archive.namelist()[0]
        lines = archive.read(name).splitlines(keepends=True)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"".join(change(lines)))
    content = out.getvalue()
    checksum = f"{hashlib.sha256(content).hexdigest()}  {file_stem(BTC, period)}.zip"
    replay.faults.add(f"{path}.CHECKSUM", Answer(200, checksum), times=100)
    replay.faults.add(path, AlterBody(lambda _body: content), times=100)
    replay.clear_requests()


def test_a_whole_month_comes_from_one_file(replay: ReplayExchange, tmp_path: Path) -> None:
    exchange = exchange_of(replay, tmp_path)
    spans, holes = fetch_all(exchange, plan_of(exchange, MONTH))
    assert_truth(replay, spans, MONTH)
    assert [span.source for span in spans] == [Source.ARCHIVE_MONTHLY]
    assert len(spans[0].archive_checksum or "") == 64
    assert holes == []


def test_a_day_that_the_months_file_lacks_comes_by_rest_with_its_own_source(
    replay: ReplayExchange, tmp_path: Path
) -> None:
    serve_altered(replay, month_of(MONTH.start_ms), lambda lines: lines[: 9 * 1440] + lines[10 * 1440 :])
    exchange = exchange_of(replay, tmp_path)
    spans, holes = fetch_all(exchange, plan_of(exchange, MONTH))
    assert_truth(replay, spans, MONTH)
    day = Span(MONTH.start_ms + 9 * MS_PER_DAY, MONTH.start_ms + 10 * MS_PER_DAY)
    assert [(span.span, span.source) for span in spans] == [
        (Span(MONTH.start_ms, day.start_ms), Source.ARCHIVE_MONTHLY),
        (day, Source.REST),
        (Span(day.end_ms, MONTH.end_ms), Source.ARCHIVE_MONTHLY),
    ]
    assert holes == []


def test_what_both_the_file_and_rest_lack_is_an_empty_span(replay: ReplayExchange, tmp_path: Path) -> None:
    halt = Span(MONTH.start_ms + 50 * MS_PER_MINUTE, MONTH.start_ms + 130 * MS_PER_MINUTE)
    replay.store.remove(BTC, halt)
    exchange = exchange_of(replay, tmp_path)
    spans, holes = fetch_all(exchange, plan_of(exchange, MONTH))
    assert_truth(replay, spans, MONTH)
    assert [(span.span, span.batch.rows) for span in spans if span.source is Source.REST] == [(halt, 0)]
    assert holes == []
    assert holes_of(exchange, plan_of(exchange, MONTH)) == [(halt, {"archive-monthly", "rest"})]


def test_with_archives_alone_a_hole_has_their_answer_only(replay: ReplayExchange, tmp_path: Path) -> None:
    halt = Span(MONTH.start_ms + 50 * MS_PER_MINUTE, MONTH.start_ms + 130 * MS_PER_MINUTE)
    replay.store.remove(BTC, halt)
    exchange = exchange_of(replay, tmp_path)
    replay.clear_requests()
    spans, uncovered = fetch_all(exchange, plan_of(exchange, MONTH, AllowedSources.ARCHIVE))
    assert uncovered == []
    assert_truth(replay, spans, MONTH)
    assert holes_of(exchange, plan_of(exchange, MONTH, AllowedSources.ARCHIVE)) == [(halt, {"archive-monthly"})]
    assert replay.count("/api/") == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[: len(body) // 2],
        lambda body: b"\0" * len(body),
        lambda body: b"",
    ],
)
def test_a_damaged_month_is_replaced_by_its_days(
    replay: ReplayExchange, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    replay.faults.add("BTCUSDT-1m-2024-03.zip", AlterBody(damage), times=1000)
    exchange = exchange_of(replay, tmp_path)
    spans, holes = fetch_all(exchange, plan_of(exchange, MONTH))
    assert_truth(replay, spans, MONTH)
    assert {span.source for span in spans} <= {Source.ARCHIVE_DAILY, Source.REST}
    assert holes == []


def test_impossible_rows_under_a_valid_checksum_are_refused(replay: ReplayExchange, tmp_path: Path) -> None:
    def spoil(lines: list[bytes]) -> list[bytes]:
        fields = lines[100].split(b",")
        fields[2] = b"0.01"  # a high below the low
        return [*lines[:100], b",".join(fields), *lines[101:]]

    serve_altered(replay, month_of(MONTH.start_ms), spoil)
    exchange = exchange_of(replay, tmp_path)
    spans, _ = fetch_all(exchange, plan_of(exchange, MONTH))
    assert_truth(replay, spans, MONTH)
    assert Source.ARCHIVE_MONTHLY not in {span.source for span in spans}


def test_a_rest_page_cut_short_is_asked_for_again(replay: ReplayExchange, tmp_path: Path) -> None:
    exchange = exchange_of(replay, tmp_path)
    day = Span(parse_time("2024-04-10"), parse_time("2024-04-11"))
    for change in (lambda rows: rows[:-300], lambda rows: rows[:100] + rows[105:], lambda rows: []):
        replay.faults.add("klines", AlterRows(change), times=1, after=1)
        spans, holes = fetch_all(exchange, plan_of(exchange, day, AllowedSources.REST))
        assert_truth(replay, spans, day)
        assert holes == []
        replay.faults.clear()


def test_a_hole_up_to_now_is_left_uncovered_with_the_candle_before_it_and_others_are_holes(
    replay: ReplayExchange, tmp_path: Path
) -> None:
    lag = Span(NOW_MS - 60 * MS_PER_MINUTE, NOW_MS - MS_PER_MINUTE)
    young = Span(NOW_MS - 120 * MS_PER_MINUTE, NOW_MS - 90 * MS_PER_MINUTE)
    old = Span(NOW_MS - 3 * MS_PER_DAY, NOW_MS - 3 * MS_PER_DAY + 60 * MS_PER_MINUTE)
    for span in (lag, young, old):
        replay.store.remove(BTC, span)
    exchange = exchange_of(replay, tmp_path)
    plan = plan_of(exchange, Span(NOW_MS - 4 * MS_PER_DAY, NOW_MS), AllowedSources.REST)
    spans, uncovered = fetch_all(exchange, plan)
    # The clock may be ahead: then the last candle before the hole is the one that is still open.
    left = Span(lag.start_ms - MS_PER_MINUTE, lag.end_ms)
    assert uncovered == [left]
    assert all(span.span.intersect(left) is None for span in spans)
    assert holes_of(exchange, plan) == [(old, {"rest"}), (young, {"rest"})]


def test_a_week_that_runs_beyond_its_months_file_is_not_taken_from_it(tmp_path: Path) -> None:
    weekly = parse_series("BTCUSDT/1w")
    store = CandleStore()
    store.add(weekly, generate_series(weekly, Span(parse_time("2023-01-02"), parse_time("2024-01-01")), 3))
    now_ms = parse_time("2024-02-01")
    with ReplayExchange(store, ReplayClock(now_ms, speed=0.0)) as replay:
        exchange = exchange_of(replay, tmp_path)
        whole = Span(parse_time("2023-01-02"), parse_time("2024-01-01"))
        plan = plan_of(exchange, whole, AllowedSources.ARCHIVE, weekly)
        spans, holes = fetch_all(exchange, plan)
    assert {chunk.period.cadence for chunk in plan.chunks if chunk.period} == {Cadence.MONTHLY}
    for span in spans:
        for time_ms in span.batch.open_times():
            assert time_ms + 7 * MS_PER_DAY <= month_of(time_ms).span.end_ms
    # Eight of the twelve months end within a week; those weeks are named, not stored.
    assert sum(weekly.interval.count(hole.start_ms, hole.end_ms) for hole in holes) == 52 - sum(
        span.batch.rows for span in spans
    )
