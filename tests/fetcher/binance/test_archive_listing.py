"""Which archive files exist, as the bucket's listing says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import responses
from fetcher_helpers import FakeTime, generated

from core.archives import ArchiveIndex, Cadence
from core.errors import ArchiveUnavailable
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_DAY, add_months, format_ms, parse_time
from demo.archive_calendar import published_periods
from demo.candle_store import CandleStore
from demo.faults import AlterBody, Answer, CutBody
from demo.server import ReplayExchange
from fetcher.binance import archive
from fetcher.binance.archive import ArchiveClient

Run = Callable[..., ReplayExchange]
MakeArchives = Callable[..., ArchiveClient]

SERIES = parse_series("BTCUSDT/1h")
ATTEMPTS = 4
LIST_URL = "https://list.test/bucket"
FOLDER = "data/spot/monthly/klines/BTCUSDT/1h/"


class Bucket:
    """Hourly candles from 2024-01-10 to 2024-05-30, asked on 2024-06-01: May's monthly file is not there yet."""

    def __init__(self, run: Run, make_archives: MakeArchives, now_ms: int, series: Series, page_size: int) -> None:
        self.store, self.series, self.now_ms = CandleStore(), series, now_ms
        days = 1 if series.interval.code == "1s" else 142  # 142 days of 1s are twelve million candles
        count = series.interval.count(parse_time("2024-01-10"), parse_time("2024-01-10") + days * MS_PER_DAY)
        self.store.add(series, generated(series, "2024-01-10", count)[1])
        self.exchange = run(self.store, list_page_size=page_size)
        self.client = make_archives(self.exchange.archive_url, self.exchange.archive_list_url)

    def listed(self, start: str, end: str) -> ArchiveIndex:
        return self.client.list_published(self.series, Span(parse_time(start), parse_time(end)))

    def there(self, cadence: Cadence, start: str) -> frozenset[int]:
        """Return the periods published from that of `start` on."""
        found = published_periods(self.store, self.series, cadence, self.now_ms)
        return frozenset(p.span.start_ms for p in found if p.span.end_ms > parse_time(start))

    def asked(self) -> list[str]:
        return [record.params["marker"].rsplit("/", 1)[-1] for record in self.exchange.requests]


@pytest.fixture
def bucket(run: Run, make_archives: MakeArchives, fake_time: FakeTime) -> Callable[..., Bucket]:
    def make(notation: str = "BTCUSDT/1h", page_size: int = 1000) -> Bucket:
        return Bucket(run, make_archives, fake_time.now_ms(), parse_series(notation), page_size)

    return make


MakeBucket = Callable[..., Bucket]


class TestWhatIsListed:
    @pytest.mark.parametrize("page_size", [1, 2, 3, 7, 1000])
    def test_months_and_days_over_any_number_of_pages(self, bucket: MakeBucket, page_size: int) -> None:
        one = bucket(page_size=page_size)
        index = one.listed("2024-01-10", "2024-06-01")
        assert index.months == one.there(Cadence.MONTHLY, "2024-01-10")
        assert {format_ms(ms) for ms in index.months} == {"2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01"}
        assert index.days == one.there(Cadence.DAILY, "2024-05-01")
        assert len(index.days) == 30
        if page_size == 1000:
            assert len(one.exchange.requests) == 2

    def test_days_are_listed_from_the_first_month_that_is_missing(self, bucket: MakeBucket) -> None:
        one = bucket()
        one.listed("2024-02-20", "2024-06-01")
        assert one.asked() == ["BTCUSDT-1h-2024-02", "BTCUSDT-1h-2024-05-01"]

    def test_days_are_not_listed_when_every_wanted_month_is_there(self, bucket: MakeBucket) -> None:
        one = bucket()
        index = one.listed("2024-01-15", "2024-05-01")
        assert one.asked() == ["BTCUSDT-1h-2024-01"]
        assert index.days == frozenset()

    @pytest.mark.parametrize("page_size", [1, 2, 3, 7])
    def test_pages_beyond_the_wanted_end_are_not_asked_for(self, bucket: MakeBucket, page_size: int) -> None:
        one = bucket(page_size=page_size)
        index = one.listed("2024-05-02", "2024-05-04")
        wanted = {parse_time("2024-05-02"), parse_time("2024-05-03")}
        assert wanted <= index.days
        # A file and its CHECKSUM a day, and the file that shows that the end is reached.
        assert one.asked()[1] == "BTCUSDT-1h-2024-05-02"
        assert len(one.exchange.requests) <= 1 + -(-5 // page_size)
        one.exchange.clear_requests()
        assert {parse_time("2024-01-01")} <= one.listed("2024-01-10", "2024-02-01").months
        assert len(one.exchange.requests) <= -(-3 // page_size)

    def test_of_1s_months_are_not_listed_though_they_are_there(self, run: Run, make_archives: MakeArchives) -> None:
        series, store = parse_series("BTCUSDT/1s"), CandleStore()
        for day in ("2024-03-01", "2024-03-02", "2024-03-05"):
            store.add(series, generated(series, day, 60)[1])
        exchange = run(store)
        client = make_archives(exchange.archive_url, exchange.archive_list_url)
        index = client.list_published(series, Span(parse_time("2024-03-02"), parse_time("2024-04-01")))
        assert index.months == frozenset()
        assert index.days == {parse_time("2024-03-02"), parse_time("2024-03-05")}
        assert {record.params["prefix"] for record in exchange.requests} == {"data/spot/daily/klines/BTCUSDT/1s/"}

    def test_months_before_the_wanted_ones_are_left_out(self, bucket: MakeBucket) -> None:
        one = bucket()
        index = one.listed("2024-03-31T23:00", "2024-04-01T01:00")
        assert {format_ms(ms) for ms in index.months} == {"2024-03-01", "2024-04-01"}

    def test_a_wanted_span_inside_the_missing_month_lists_days_from_its_own_first(self, bucket: MakeBucket) -> None:
        one = bucket()
        index = one.listed("2024-05-20T13:37", "2024-05-22")
        assert one.asked() == ["BTCUSDT-1h-2024-05", "BTCUSDT-1h-2024-05-20"]
        assert index.days == one.there(Cadence.DAILY, "2024-05-20T13:37")

    def test_before_the_listing_of_the_series_days_are_looked_for_as_well(self, bucket: MakeBucket) -> None:
        one = bucket()
        index = one.listed("2023-11-05", "2024-02-01")
        assert one.asked() == ["BTCUSDT-1h-2023-11", "BTCUSDT-1h-2023-11-05"]
        assert index.months == one.there(Cadence.MONTHLY, "2023-11-05")

    @pytest.mark.parametrize(
        ("notation", "name"), [("BTCUSDT/3d", "3d"), ("um:BTCUSDT/1w", "1w"), ("cm:BTCUSD_PERP/1M", "1mo")]
    )
    def test_days_of_3d_1w_and_1mo_are_never_listed(self, bucket: MakeBucket, notation: str, name: str) -> None:
        one = bucket(notation)
        index = one.listed("2024-02-01", "2024-06-01")
        [marker] = one.asked()
        assert f"-{name}-" in marker
        assert index.months == one.there(Cadence.MONTHLY, "2024-02-01")
        assert index.days == frozenset()

    def test_a_series_without_archives_has_an_empty_index(self, bucket: MakeBucket) -> None:
        one = bucket()
        span = Span(parse_time("2024-01-01"), parse_time("2024-06-01"))
        index = one.client.list_published(parse_series("NOSUCHUSDT/1h"), span)
        assert index == ArchiveIndex(frozenset(), frozenset())

    def test_a_series_whose_name_begins_alike_is_not_mixed_in(self, bucket: MakeBucket) -> None:
        one = bucket()
        other = parse_series("BTCUSDTX/1h")
        one.store.add(other, generated(other, "2023-01-01", 24 * 60)[1])
        assert one.listed("2023-01-01", "2024-05-01").months == one.there(Cadence.MONTHLY, "2023-01-01")


class TestWhatShouldBeThere:
    """It tells from where on days are needed, so that both listings can be read at the same time."""

    WANTED = Span(parse_time("2024-02-20"), parse_time("2024-06-01"))

    def listed(self, one: Bucket, *months: str) -> ArchiveIndex:
        expected = ArchiveIndex(frozenset(map(parse_time, months)), frozenset())
        return one.client.list_published(one.series, self.WANTED, expected)

    def test_both_listings_are_read_at_the_same_time(self, bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch) -> None:
        one = bucket()
        meeting, really_send = threading.Barrier(2, timeout=10), archive.send

        def send(*words: Any) -> Any:
            meeting.wait()  # broken when one is sent after the other
            return really_send(*words)

        monkeypatch.setattr(archive, "send", send)
        index = self.listed(one, "2024-02-01", "2024-03-01", "2024-04-01")
        assert index.months == one.there(Cadence.MONTHLY, "2024-02-20")
        assert index.days == one.there(Cadence.DAILY, "2024-05-01")
        assert sorted(one.asked()) == ["BTCUSDT-1h-2024-02", "BTCUSDT-1h-2024-05-01"]

    def test_a_month_that_is_there_earlier_costs_no_request(self, bucket: MakeBucket) -> None:
        one = bucket()
        index = self.listed(one, "2024-02-01", "2024-03-01")
        assert index.days >= one.there(Cadence.DAILY, "2024-05-01")
        assert sorted(one.asked()) == ["BTCUSDT-1h-2024-02", "BTCUSDT-1h-2024-04-01"]

    def test_a_month_that_is_late_has_its_days_listed_after_all(self, bucket: MakeBucket) -> None:
        one = bucket()
        index = self.listed(one, "2024-02-01", "2024-03-01", "2024-04-01", "2024-05-01")
        assert index.days == one.there(Cadence.DAILY, "2024-05-01")
        assert sorted(one.asked()) == ["BTCUSDT-1h-2024-02", "BTCUSDT-1h-2024-05-01"]

    def test_a_month_that_is_missing_among_others_has_its_days_listed_after_all(self, bucket: MakeBucket) -> None:
        one = bucket()
        without_march = AlterBody(lambda body: body.replace(b"1h-2024-03.zip", b"1h-none.zip"))
        one.exchange.faults.add("/monthly/", without_march)  # the listing of days may come first
        index = self.listed(one, "2024-02-01", "2024-03-01", "2024-04-01")
        assert index.days >= one.there(Cadence.DAILY, "2024-03-01")

    def test_of_1s_nothing_is_asked_twice(self, bucket: MakeBucket) -> None:
        one = bucket("BTCUSDT/1s")
        self.listed(one, "2024-02-01", "2024-03-01")
        assert one.asked() == ["BTCUSDT-1s-2024-02-20"]


class TestTrouble:
    @pytest.mark.parametrize(
        "fault",
        [
            AlterBody(lambda body: body[: len(body) // 2]),
            AlterBody(lambda body: b""),
            AlterBody(lambda body: b"<!doctype html><html><body><br></body></html>"),
            AlterBody(lambda body: b"\xff\xfe\x00"),
            AlterBody(lambda body: b"{}"),
            AlterBody(lambda body: b"<Error><Code>InternalError</Code><Message>Try again.</Message></Error>"),
            AlterBody(lambda body: b'<html xmlns="http://www.w3.org/1999/xhtml"><body/></html>'),
            AlterBody(lambda body: b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
            AlterBody(lambda body: body.replace(b"ListBucketResult", b"ListAllMyBucketsResult")),
            Answer(503),
            CutBody(),
        ],
        ids=[
            "cut XML",
            "nothing",
            "HTML",
            "no text",
            "JSON",
            "an error in a 200",
            "XHTML",
            "no namespace",
            "another list",
            "503",
            "cut body",
        ],
    )
    def test_is_sat_out_and_then_given_up(self, bucket: MakeBucket, fault: AlterBody | Answer | CutBody) -> None:
        one = bucket()
        one.exchange.faults.add("/bucket", fault, times=ATTEMPTS - 1)
        assert one.listed("2024-01-10", "2024-05-01").months == one.there(Cadence.MONTHLY, "2024-01-10")
        one.exchange.clear_requests()
        one.exchange.faults.add("/bucket", fault, times=ATTEMPTS)
        with pytest.raises(ArchiveUnavailable):
            one.listed("2024-01-10", "2024-05-01")
        assert len(one.exchange.requests) == ATTEMPTS

    def test_in_the_middle_of_the_pages_loses_none(self, bucket: MakeBucket) -> None:
        one = bucket(page_size=10)
        one.exchange.faults.add("/bucket", AlterBody(lambda body: body[:-5]), after=3)
        assert one.listed("2024-01-10", "2024-06-01").days == one.there(Cadence.DAILY, "2024-05-01")

    def test_a_bucket_that_is_not_there_is_unavailable_at_once(
        self, run: Run, make_archives: MakeArchives, fake_time: FakeTime
    ) -> None:
        exchange = run(CandleStore(), archives=False)
        client = make_archives(exchange.archive_url, exchange.archive_list_url)
        with pytest.raises(ArchiveUnavailable, match="answers 404"):
            client.list_published(SERIES, Span(parse_time("2024-01-10"), parse_time("2024-05-01")))
        assert len(exchange.requests) == 1
        assert fake_time.waits == []


def page(*names: str, truncated: bool, next_marker: str = "") -> str:
    contents = "".join(f"<Contents><Key>{FOLDER}{name}</Key><Size>1</Size></Contents>" for name in names)
    marker = f"<NextMarker>{next_marker}</NextMarker>" if next_marker else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{marker}{contents}</ListBucketResult>"
    )


class TestOddPages:
    WANTED = Span(parse_time("2024-01-01"), parse_time("2024-03-01"))

    def listed(self, make_archives: MakeArchives, http: responses.RequestsMock, *pages: str) -> set[str]:
        for text in pages:
            http.get(LIST_URL, body=text)
        index = make_archives("https://any.test", LIST_URL).list_published(SERIES, self.WANTED)
        return {format_ms(ms)[:7] for ms in index.months}

    def test_without_a_next_marker_the_last_key_is_the_marker(
        self, make_archives: MakeArchives, http: responses.RequestsMock
    ) -> None:
        first, last = page("BTCUSDT-1h-2024-01.zip", truncated=True), page("BTCUSDT-1h-2024-02.zip", truncated=False)
        assert self.listed(make_archives, http, first, last) == {"2024-01", "2024-02"}
        assert http.calls[1].request.params["marker"] == f"{FOLDER}BTCUSDT-1h-2024-01.zip"

    def test_checksums_and_strangers_count_for_nothing(
        self, make_archives: MakeArchives, http: responses.RequestsMock
    ) -> None:
        names = ["BTCUSDT-1h-2024-01.zip", "BTCUSDT-1h-2024-01.zip.CHECKSUM", "BTCUSDT-1h-2024-02.zip.CHECKSUM"]
        names += ["index.html", "BTCUSDT-1h-2024-13.zip", "BTCUSDT-1h-latest.zip", ""]
        empty = page(truncated=False)
        assert self.listed(make_archives, http, page(*names, truncated=False), empty) == {"2024-01"}

    @pytest.mark.parametrize("marker", ["A", "BTCUSDT-1h-2024-01"])
    def test_a_marker_that_does_not_move_on_makes_the_listing_unavailable(
        self, make_archives: MakeArchives, http: responses.RequestsMock, marker: str
    ) -> None:
        names = ["BTCUSDT-1h-2024-01.zip", "BTCUSDT-1h-2024-02.zip"]
        stuck = page(*names, truncated=True, next_marker=f"{FOLDER}{marker}")
        with pytest.raises(ArchiveUnavailable, match="does not come to an end"):
            self.listed(make_archives, http, stuck)
        assert len(http.calls) == 1

    def test_nor_does_one_that_stands_still_later_on(
        self, make_archives: MakeArchives, http: responses.RequestsMock
    ) -> None:
        stuck = page("BTCUSDT-1h-2024-01.zip", truncated=True)
        with pytest.raises(ArchiveUnavailable, match="does not come to an end"):
            self.listed(make_archives, http, stuck)
        assert len(http.calls) == 2

    def test_no_page_is_asked_for_beyond_the_end_of_what_is_wanted(
        self, make_archives: MakeArchives, http: responses.RequestsMock
    ) -> None:
        """March begins where the wanted span ends."""
        names = [f"BTCUSDT-1h-2024-0{month}.zip{ending}" for month in (1, 2, 3) for ending in ("", ".CHECKSUM")]
        for more in (names, names[:-1]):
            listed = self.listed(make_archives, http, page(*more, truncated=True, next_marker=f"{FOLDER}A"))
            assert {"2024-01", "2024-02"} <= listed <= {"2024-01", "2024-02", "2024-03"}
        assert len(http.calls) == 2  # one for each listing

    def test_a_page_that_ends_with_the_last_wanted_file_is_not_yet_the_end(
        self, make_archives: MakeArchives, http: responses.RequestsMock
    ) -> None:
        first = page("BTCUSDT-1h-2024-01.zip", "BTCUSDT-1h-2024-01.zip.CHECKSUM", truncated=True)
        second = page("BTCUSDT-1h-2024-02.zip", "BTCUSDT-1h-2024-02.zip.CHECKSUM", truncated=True)
        third = page("BTCUSDT-1h-2024-03.zip", "BTCUSDT-1h-2024-03.zip.CHECKSUM", truncated=True)
        assert {"2024-01", "2024-02"} <= self.listed(make_archives, http, first, second, third)
        assert len(http.calls) == 3

    def test_of_1s_the_days_alone_are_listed_from_the_first_wanted_one(
        self, make_archives: MakeArchives, http: responses.RequestsMock
    ) -> None:
        """A month of seconds is too large a file to be used."""
        daily, span = (
            "data/spot/daily/klines/BTCUSDT/1s/",
            Span(parse_time("2024-01-10T13:37"), parse_time("2024-03-01")),
        )
        names = ["BTCUSDT-1s-2024-01-10.zip", "BTCUSDT-1s-2024-01-11.zip"]
        http.get(LIST_URL, body=page(*names, truncated=False).replace(FOLDER, daily))
        index = make_archives("https://any.test", LIST_URL).list_published(parse_series("BTCUSDT/1s"), span)
        assert index == ArchiveIndex(frozenset(), frozenset({parse_time("2024-01-10"), parse_time("2024-01-11")}))
        [call] = http.calls
        assert call.request.params == {"delimiter": "/", "prefix": daily, "marker": f"{daily}BTCUSDT-1s-2024-01-10"}

    def test_a_listing_that_never_ends_is_given_up(
        self, make_archives: MakeArchives, http: responses.RequestsMock
    ) -> None:
        count = 0

        def next_page(_: object) -> tuple[int, dict[str, str], str]:
            nonlocal count
            count += 1
            return 200, {}, page(truncated=True, next_marker=f"{FOLDER}Z{count:06d}")

        http.add_callback("GET", LIST_URL, next_page)
        with pytest.raises(ArchiveUnavailable, match="does not come to an end"):
            make_archives("https://any.test", LIST_URL).list_published(SERIES, self.WANTED)
        assert count == 1000

    def test_a_page_of_many_megabytes_is_refused(
        self, make_archives: MakeArchives, http: responses.RequestsMock
    ) -> None:
        http.get(LIST_URL, body=b" " * (9 << 20))
        with pytest.raises(ArchiveUnavailable, match="answers more than"):
            make_archives("https://any.test", LIST_URL).list_published(SERIES, self.WANTED)
        assert len(http.calls) == 1

    def test_an_entity_bomb_does_no_harm(self, make_archives: MakeArchives, http: responses.RequestsMock) -> None:
        levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
        bomb = f'<!DOCTYPE x [<!ENTITY e0 "boom">{levels}]><x>&e9;</x>'
        http.get(LIST_URL, body=bomb)
        with pytest.raises(ArchiveUnavailable, match="not readable XML"):
            make_archives("https://any.test", LIST_URL).list_published(SERIES, self.WANTED)

    def test_months_are_asked_for_by_folder_and_marker(
        self, make_archives: MakeArchives, http: responses.RequestsMock
    ) -> None:
        months = [add_months(self.WANTED.start_ms, n) for n in range(2)]
        names = [f"BTCUSDT-1h-{format_ms(ms)[:7]}.zip" for ms in months]
        self.listed(make_archives, http, page(*names, truncated=False))
        [call] = http.calls
        assert call.request.params == {"delimiter": "/", "prefix": FOLDER, "marker": f"{FOLDER}BTCUSDT-1h-2024-01"}
