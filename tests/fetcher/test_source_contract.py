"""What every exchange must offer (fetcher/source.py). A new exchange is one more entry in STAGES."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest
from fetcher_helpers import FakeTime, Row, columns_of, generated, rows_of, sha256

from core.archives import Period, day_of
from core.binance.archives import file_stem
from core.errors import ArchiveUnavailable, ExchangeUnavailable, SeriesError
from core.instrument import ExchangeName, Instrument, Market
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_DAY, MS_PER_HOUR, parse_time
from demo.candle_store import CandleStore
from demo.faults import AlterBody, AlterRows, Answer
from demo.server import ReplayExchange
from fetcher.addresses import ExchangeAddresses
from fetcher.exchanges import open_exchange
from fetcher.source import ExchangeSource

LOCAL_LAG_MS = 5 * MS_PER_HOUR  # how far this machine's clock is behind the exchange's
HOLE = Span(parse_time("2024-03-10T05:00"), parse_time("2024-03-10T09:00"))


class Stage(Protocol):
    """One exchange with a market behind it: what the suite has to know and to do there."""

    source: ExchangeSource
    series: Series  # hourly, without candles in HOLE
    rows: Sequence[Row]  # its candles
    symbols: set[str]  # of its market
    address_pool: str  # which the budget of its market belongs to

    def requests(self) -> int:
        """Return how many requests the exchange was sent."""

    def refuse_market(self) -> None:
        """Let the exchange refuse this address for good."""

    def answer_nothing_for(self, *symbols: str) -> None:
        """Let every request for one of these symbols end in a server fault."""

    def hide_from_the_list(self, symbol: str) -> None:
        """Let the list of all symbols lack one that exists."""

    def damage_list(self) -> None:
        """Let every list of symbols be unusable."""

    def silence(self) -> None:
        """Let every request end in a server fault."""

    def cut_next_page(self) -> None:
        """Let the next page of candles lack its second half."""

    def damage_file(self, period: Period) -> None:
        """Let the archive file of `period` be another one than its checksum says."""

    def file_sha256(self, period: Period) -> str:
        """Return the sha256 of the archive file that is served."""


class BinanceStage:
    """Binance in front of the replay exchange."""

    address_pool = "spot"

    def __init__(self, replay: ReplayExchange, fake_time: FakeTime, state_dir: Path) -> None:
        self._replay = replay
        self.series = parse_series("BTCUSDT/1h")
        addresses = ExchangeAddresses(
            {market: replay.url for market in Market},
            replay.archive_url,
            replay.archive_list_url,
            weight_share=1.0,
            page_limit=None,
            workers=2,
            state_dir=state_dir,
        )
        self.source: ExchangeSource = open_exchange(
            ExchangeName.BINANCE, addresses, fake_time.sleep, lambda: fake_time.now_ms() - LOCAL_LAG_MS
        )
        self.rows = replay.store.rows(self.series)
        self.symbols = set(replay.store.symbols(Market.SPOT))

    @staticmethod
    def store() -> CandleStore:
        store = CandleStore()
        for symbol, count in (("BTCUSDT", 24 * 60), ("ETHUSDT", 5)):
            series = parse_series(f"{symbol}/1h")
            store.add(series, generated(series, "2024-03-01", count)[1])
        store.remove(parse_series("BTCUSDT/1h"), HOLE)
        return store

    def requests(self) -> int:
        return len(self._replay.requests)

    def refuse_market(self) -> None:
        self._replay.faults.add("/api/v3", Answer(451, "not from here"), times=1_000)

    def answer_nothing_for(self, *symbols: str) -> None:
        for symbol in symbols:
            self._replay.faults.add(f"symbol={symbol}&", Answer(503, "<html>sorry</html>"), times=1_000)

    def hide_from_the_list(self, symbol: str) -> None:
        def hide(body: bytes) -> bytes:
            document = json.loads(body)
            document["symbols"] = [one for one in document["symbols"] if one["symbol"] != symbol]
            return json.dumps(document).encode()

        self._replay.faults.add("/exchangeInfo", AlterBody(hide), times=1_000, but_not="symbols=")

    def damage_list(self) -> None:
        self._replay.faults.add("/exchangeInfo", AlterBody(lambda body: b"<html>"), times=1_000)

    def silence(self) -> None:
        self._replay.faults.add("/api/v3", Answer(503, "<html>sorry</html>"), times=1_000)

    def cut_next_page(self) -> None:
        self._replay.faults.add("/klines", AlterRows(lambda rows: rows[: len(rows) // 2]))

    def damage_file(self, period: Period) -> None:
        name = f"{file_stem(self.series, period)}.zip"
        self._replay.faults.add(name, Answer(200, b"another file"), times=1_000, but_not=".CHECKSUM")

    def file_sha256(self, period: Period) -> str:
        path = f"/data/spot/{period.cadence}/klines/BTCUSDT/1h/{file_stem(self.series, period)}.zip"
        reply, _ = self._replay.handle(path)
        return sha256(reply.body)


Run = Callable[..., ReplayExchange]
STAGES = {ExchangeName.BINANCE: BinanceStage}


def test_every_exchange_is_on_stage() -> None:
    assert set(STAGES) == set(ExchangeName)


@pytest.fixture(params=list(STAGES), ids=str)
def stage(request: pytest.FixtureRequest, run: Run, fake_time: FakeTime, tmp_path: Path) -> Iterator[Stage]:
    made = STAGES[request.param]
    yield made(run(made.store()), fake_time, tmp_path / "state")


def hours(start: str, count: int) -> Span:
    start_ms = parse_time(start)
    return Span(start_ms, start_ms + count * MS_PER_HOUR)


def truth(stage: Stage, span: Span) -> list[tuple[object, ...]]:
    return columns_of([row for row in stage.rows if span.start_ms <= row[0] < span.end_ms])


def unknown(stage: Stage) -> Series:
    instrument = stage.series.instrument
    return Series(Instrument(instrument.exchange, instrument.market, "NOSUCHSYMBOL"), stage.series.interval)


class TestTheClock:
    def test_is_this_machine_s_until_the_market_is_opened(self, stage: Stage, fake_time: FakeTime) -> None:
        market = stage.series.market
        assert not stage.source.is_clock_set(market)
        assert abs(stage.source.now_ms(market) - (fake_time.now_ms() - LOCAL_LAG_MS)) < 60_000
        assert stage.requests() == 0

    def test_is_the_exchange_s_own_afterwards(self, stage: Stage, fake_time: FakeTime) -> None:
        market = stage.series.market
        stage.source.open_market(market, {stage.series.symbol})
        assert stage.source.is_clock_set(market)
        assert abs(stage.source.now_ms(market) - fake_time.now_ms()) < 60_000


class TestSymbols:
    def test_all_of_the_market(self, stage: Stage) -> None:
        assert set(stage.source.open_market(stage.series.market, None)) == stage.symbols

    def test_those_asked_for_that_exist(self, stage: Stage) -> None:
        asked = {stage.series.symbol, "NOSUCHSYMBOL"}
        found = stage.source.open_market(stage.series.market, asked)
        assert found.keys() & asked == {stage.series.symbol}
        info = found[stage.series.symbol]
        assert (info.symbol, info.is_trading, info.is_pending) == (stage.series.symbol, True, False)

    def test_what_is_known_is_not_asked_for_again(self, stage: Stage) -> None:
        stage.source.open_market(stage.series.market, None)
        before = stage.requests()
        stage.source.open_market(stage.series.market, None)
        stage.source.open_market(stage.series.market, {stage.series.symbol})
        assert stage.requests() == before


class TestASingleSymbol:
    """Of spot, whose list of all leaves out symbols without the usual permissions."""

    def test_that_does_not_exist_costs_no_list_of_all_and_is_not_asked_for_again(self, stage: Stage) -> None:
        for _ in range(2):
            assert "GONEUSDT" not in stage.source.open_market(stage.series.market, {"GONEUSDT"})
        assert stage.requests() == 2  # the time, and the name

    def test_that_the_list_of_all_lacks_is_found_by_its_name(self, stage: Stage) -> None:
        stage.hide_from_the_list("ETHUSDT")
        assert "ETHUSDT" not in stage.source.open_market(stage.series.market, None)
        assert "ETHUSDT" in stage.source.open_market(stage.series.market, {"ETHUSDT"})
        before = stage.requests()
        assert stage.source.open_market(stage.series.market, {"ETHUSDT"}).keys() == stage.symbols
        assert stage.requests() == before

    def test_whose_answer_is_unusable_is_not_called_unlisted(self, stage: Stage) -> None:
        stage.source.open_market(stage.series.market, None)
        stage.damage_list()
        with pytest.raises(SeriesError):
            stage.source.open_market(stage.series.market, {"GONEUSDT"})
        assert stage.source.failures() == {}


class TestCandles:
    @pytest.mark.parametrize("span", [hours("2024-03-02T03:00", 1), hours("2024-03-01", 24), hours("2024-03-12", 1000)])
    def test_are_all_there_to_the_last_digit(self, stage: Stage, span: Span) -> None:
        expected = truth(stage, span)
        assert len(expected) == (span.end_ms - span.start_ms) // MS_PER_HOUR
        assert rows_of(stage.source.fetch_candles(stage.series, span)) == expected

    @pytest.mark.parametrize("span", [hours("2024-03-10", 24), hours("2024-03-10", 7), hours("2024-03-10T06:00", 24)])
    def test_around_a_hole_of_the_exchange(self, stage: Stage, span: Span) -> None:
        expected = truth(stage, span)
        assert 0 < len(expected) < (span.end_ms - span.start_ms) // MS_PER_HOUR
        assert rows_of(stage.source.fetch_candles(stage.series, span)) == expected

    @pytest.mark.parametrize("span", [HOLE, hours("2024-02-01", 24)])
    def test_of_a_span_without_any(self, stage: Stage, span: Span) -> None:
        assert stage.source.fetch_candles(stage.series, span).rows == 0
        assert stage.requests() > 1  # silence is not believed at once

    def test_that_a_page_lacked_are_asked_for_again(self, stage: Stage) -> None:
        span = hours("2024-03-01", 24)
        stage.cut_next_page()
        assert rows_of(stage.source.fetch_candles(stage.series, span)) == truth(stage, span)

    def test_of_an_unknown_symbol_are_an_error_of_that_series_alone(self, stage: Stage) -> None:
        with pytest.raises(SeriesError, match="NOSUCHSYMBOL"):
            stage.source.fetch_candles(unknown(stage), hours("2024-03-01", 24))
        assert stage.source.failures() == {}
        assert stage.source.fetch_candles(stage.series, hours("2024-03-01", 24)).rows == 24


class TestTheEndsOfASeries:
    @pytest.mark.parametrize(
        ("from_", "first"),
        [
            ("2017-07-01", "2024-03-01"),
            ("2024-03-01", "2024-03-01"),
            ("2024-03-01T00:01", "2024-03-01T01:00"),
            ("2024-03-10T05:00", "2024-03-10T09:00"),
            ("2024-05-31", None),
        ],
    )
    def test_the_first_candle_from_a_time_on(self, stage: Stage, from_: str, first: str | None) -> None:
        stage.source.open_market(stage.series.market, {stage.series.symbol})
        found = stage.source.find_first_candle(stage.series, parse_time(from_))
        assert found == (None if first is None else parse_time(first))

    @pytest.mark.parametrize("listing", [None, "2024-03-01"])
    def test_the_last_candle(self, stage: Stage, listing: str | None) -> None:
        stage.source.open_market(stage.series.market, {stage.series.symbol})
        found = stage.source.find_last_candle(stage.series, None if listing is None else parse_time(listing))
        assert found == stage.rows[-1][0]

    @pytest.mark.parametrize(
        ("span", "there"),
        [
            (HOLE, False),
            (Span(HOLE.start_ms, HOLE.end_ms + 1), True),
            (Span(HOLE.start_ms - MS_PER_HOUR, HOLE.end_ms), True),
            (hours("2024-02-01", 24), False),
        ],
    )
    def test_whether_there_is_a_candle_in_a_span(self, stage: Stage, span: Span, there: bool) -> None:
        assert stage.source.has_candle_in(stage.series, span) is there


class TestArchives:
    DAY = day_of(parse_time("2024-03-10"))
    NO_FILE = day_of(parse_time("2023-01-01"))

    def test_the_files_that_exist_are_listed(self, stage: Stage) -> None:
        index = stage.source.archives.list_published(
            stage.series, Span(self.DAY.span.start_ms, parse_time("2024-06-01"))
        )
        assert index.periods
        assert not index.has(self.NO_FILE)
        for period in index.periods:
            assert len(stage.source.archives.published_checksum(stage.series, period)) == 64

    def test_a_file_gives_its_candles_and_its_checksum(self, stage: Stage) -> None:
        batch, checksum = stage.source.archives.fetch(stage.series, self.DAY)
        assert rows_of(batch) == truth(stage, self.DAY.span)
        assert checksum == stage.file_sha256(self.DAY)
        assert checksum == stage.source.archives.published_checksum(stage.series, self.DAY)

    def test_archives_and_api_give_the_same_candles(self, stage: Stage) -> None:
        batch, _ = stage.source.archives.fetch(stage.series, self.DAY)
        assert rows_of(batch) == rows_of(stage.source.fetch_candles(stage.series, self.DAY.span))

    def test_a_file_that_is_not_there_is_unavailable(self, stage: Stage) -> None:
        with pytest.raises(ArchiveUnavailable):
            stage.source.archives.fetch(stage.series, self.NO_FILE)
        with pytest.raises(ArchiveUnavailable):
            stage.source.archives.published_checksum(stage.series, self.NO_FILE)

    def test_a_file_that_is_not_what_its_checksum_says_is_unavailable(self, stage: Stage) -> None:
        stage.damage_file(self.DAY)
        with pytest.raises(ArchiveUnavailable, match="sha256"):
            stage.source.archives.fetch(stage.series, self.DAY)

    def test_trouble_with_a_file_is_none_of_the_market(self, stage: Stage) -> None:
        with pytest.raises(ArchiveUnavailable):
            stage.source.archives.fetch(stage.series, self.NO_FILE)
        assert stage.source.failures() == {}

    def test_leftovers_may_be_removed_at_any_time(self, stage: Stage) -> None:
        stage.source.archives.remove_leftovers()
        stage.source.archives.fetch(stage.series, self.DAY)
        stage.source.archives.remove_leftovers()
        assert stage.source.archives.list_earlier_contracts(stage.series) == []


class TestAMarketThatCannotBeUsed:
    def test_is_remembered_and_not_asked_again(self, stage: Stage) -> None:
        stage.refuse_market()
        market, day = stage.series.market, hours("2024-03-01", 24)
        with pytest.raises(ExchangeUnavailable) as first:
            stage.source.open_market(market, None)
        assert stage.source.failures() == {market: first.value}
        before = stage.requests()
        questions: list[Callable[[], object]] = [
            lambda: stage.source.open_market(market, None),
            lambda: stage.source.fetch_candles(stage.series, day),
            lambda: stage.source.find_first_candle(stage.series),
            lambda: stage.source.find_last_candle(stage.series),
            lambda: stage.source.has_candle_in(stage.series, day),
        ]
        for question in questions:
            with pytest.raises(ExchangeUnavailable) as again:
                question()
            assert again.value is first.value
        assert stage.requests() == before

    def test_is_remembered_by_whatever_question_found_it_out(self, stage: Stage) -> None:
        stage.refuse_market()
        with pytest.raises(ExchangeUnavailable):
            stage.source.fetch_candles(stage.series, hours("2024-03-01", 24))
        assert stage.source.failures().keys() == {stage.series.market}


class TestASymbolWithoutAnAnswer:
    DAY = hours("2024-03-01", 24)

    def test_is_an_error_of_that_series_alone(self, stage: Stage) -> None:
        other = parse_series("ETHUSDT/1h")
        stage.answer_nothing_for("ETHUSDT")
        questions: list[Callable[[], object]] = [
            lambda: stage.source.find_first_candle(other),
            lambda: stage.source.find_last_candle(other),
            lambda: stage.source.has_candle_in(other, self.DAY),
            lambda: stage.source.fetch_candles(other, self.DAY),
        ]
        for question in questions:
            with pytest.raises(SeriesError, match="answers, but not for ETHUSDT"):
                question()
        assert stage.source.failures() == {}
        assert stage.source.fetch_candles(stage.series, self.DAY).rows == 24

    def test_is_a_market_that_cannot_be_used_when_nothing_else_is_answered_either(self, stage: Stage) -> None:
        stage.silence()
        with pytest.raises(ExchangeUnavailable, match="answers 503"):
            stage.source.fetch_candles(stage.series, self.DAY)
        assert stage.source.failures().keys() == {stage.series.market}

    def test_is_no_longer_alone_when_three_in_a_row_have_none(self, stage: Stage) -> None:
        stage.answer_nothing_for("AUSDT", "BUSDT", "CUSDT", "DUSDT")
        for symbol in ("AUSDT", "BUSDT"):
            with pytest.raises(SeriesError):
                stage.source.find_first_candle(parse_series(f"{symbol}/1h"))
        stage.source.fetch_candles(stage.series, self.DAY)  # an answer between: counting begins again
        for symbol in ("AUSDT", "CUSDT"):
            with pytest.raises(SeriesError):
                stage.source.find_first_candle(parse_series(f"{symbol}/1h"))
        with pytest.raises(ExchangeUnavailable):
            stage.source.find_first_candle(parse_series("DUSDT/1h"))
        assert stage.source.failures().keys() == {stage.series.market}


class Shared:
    """What other runs have reserved and were told."""

    def __init__(self, reserve: Callable[[str, int, int, int], int], limit: int | None = None) -> None:
        self.reserve = reserve
        self._limit = limit
        self.kept: list[tuple[str, int]] = []

    def published_limit(self, pool: str) -> int | None:
        return self._limit

    def keep_limit(self, pool: str, limit: int) -> None:
        self.kept.append((pool, limit))


class TestTheBudget:
    def test_it_begins_with_the_limit_that_an_earlier_run_was_told_and_keeps_a_new_one(self, stage: Stage) -> None:
        today = stage.source.weight_per_minute()
        allowed: list[int] = []

        def reserve(pool: str, minute: int, wanted: int, of: int) -> int:
            allowed.append(of)
            return wanted

        shared = Shared(reserve, limit=300)
        stage.source.share_budget(shared)
        assert stage.source.weight_per_minute() < today
        stage.source.open_market(stage.series.market, {"BTCUSDT", "NEWUSDT"})  # reads the limit anew
        assert allowed[0] <= 300
        assert [pool for pool, limit in shared.kept] == [stage.address_pool]
        assert shared.kept[0][1] > 300

    def test_what_is_used_is_counted(self, stage: Stage) -> None:
        assert stage.source.weight_used() == 0
        assert stage.source.weight_per_minute() > 0
        stage.source.fetch_candles(stage.series, hours("2024-03-01", 24))
        assert stage.source.weight_used() == stage.source.rules(stage.series).page_weight(24)

    def test_it_is_reserved_before_it_is_used(self, stage: Stage) -> None:
        granted: list[tuple[str, int, int, int]] = []

        def reserve(pool: str, minute: int, wanted: int, allowed: int) -> int:
            assert stage.requests() == 0
            granted.append((pool, minute, wanted, allowed))
            return wanted

        stage.source.share_budget(Shared(reserve))
        stage.source.fetch_candles(stage.series, hours("2024-03-01", 24))
        [(pool, minute, wanted, allowed)] = granted
        assert pool == stage.address_pool
        assert minute == stage.source.now_ms(stage.series.market) // 60_000
        assert stage.source.weight_used() <= wanted <= allowed <= stage.source.weight_per_minute()

    def test_nothing_is_asked_for_while_nothing_is_granted(self, stage: Stage, fake_time: FakeTime) -> None:
        class Waited(Exception):
            pass

        refused = 0

        def reserve(pool: str, minute: int, wanted: int, allowed: int) -> int:
            nonlocal refused
            refused += 1
            if refused > 3:
                raise Waited
            return 0

        stage.source.share_budget(Shared(reserve))
        with pytest.raises(Waited):
            stage.source.fetch_candles(stage.series, hours("2024-03-01", 24))
        assert stage.requests() == 0
        assert len(fake_time.waits) == 3


def test_the_rules_are_those_of_the_series(stage: Stage) -> None:
    rules = stage.source.rules(stage.series)
    assert rules.interval == stage.series.interval
    assert rules.page_rows > 0
    span = Span(parse_time("2024-03-01"), parse_time("2024-03-01") + 90 * MS_PER_DAY)
    pages = list(rules.pages(span))
    assert (pages[0].start_ms, pages[-1].end_ms) == (span.start_ms, span.end_ms)
    assert all(rules.interval.count(page.start_ms, page.end_ms) <= rules.page_rows for page in pages)
