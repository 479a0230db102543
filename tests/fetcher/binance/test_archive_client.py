"""Downloading archives from the replay exchange: nothing read before the checksum, nothing left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import responses
from fetcher_helpers import FakeTime, columns_of, generated, rows_of, sha256

from core.archives import Period, day_of, month_of
from core.binance.archives import file_stem, folder, period_of_file
from core.candles import CandleBatch
from core.errors import ArchiveUnavailable, ConfigurationError, Interrupted
from core.series import Series, parse_series
from core.times import parse_time
from demo.archive_calendar import archive_key
from demo.candle_store import CandleStore, RecordedFile
from demo.faults import Action, AlterBody, Answer, CutBody, Reset, Stall
from demo.recordings import identify, read_rows
from demo.server import ReplayExchange
from fetcher.binance import archive
from fetcher.binance.archive import ArchiveClient

Run = Callable[..., ReplayExchange]
MakeArchives = Callable[..., ArchiveClient]

SERIES = parse_series("BTCUSDT/1h")
DAY = day_of(parse_time("2024-03-01"))
ATTEMPTS = 4
ZIP, CHECKSUM = ".zip", ".zip.CHECKSUM"


class Host:
    """Two days of hourly candles as archives, and a client of them."""

    def __init__(self, run: Run, make_archives: MakeArchives) -> None:
        self.store = CandleStore()
        self.store.add(SERIES, generated(SERIES, "2024-03-01", 48)[1])
        self.exchange = run(self.store)
        self.url = self.exchange.archive_url
        self.client = make_archives(self.exchange.archive_url, self.exchange.archive_list_url)

    def fetch(self, period: Period = DAY) -> tuple[CandleBatch, str]:
        return self.client.fetch(SERIES, period)

    def truth(self, period: Period = DAY) -> list[tuple[object, ...]]:
        return columns_of(self.store.rows(SERIES, period.span.start_ms, period.span.end_ms))

    def asked(self) -> tuple[int, int]:
        """Return how often the CHECKSUM and the zip were asked for."""
        checksums = self.exchange.count(CHECKSUM)
        return checksums, self.exchange.count(ZIP) - checksums

    def fault(self, what: str, action: Action, times: int = 1) -> None:
        """Let `action` happen to the next requests for the zip or for its CHECKSUM."""
        self.exchange.faults.add(what, action, times=times, but_not=CHECKSUM if what == ZIP else "")


@pytest.fixture
def host(run: Run, make_archives: MakeArchives) -> Host:
    return Host(run, make_archives)


@pytest.fixture
def not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test when anything is parsed."""

    def parse(*_: object) -> CandleBatch:
        raise AssertionError("a file was parsed before its checksum was right")

    monkeypatch.setattr(archive, "read_archive", parse)


def files_in(folder_path: Path) -> list[str]:
    return sorted(path.name for path in folder_path.iterdir()) if folder_path.is_dir() else []


def spoiled(body: bytes) -> bytes:
    """Return the same zip with another byte in its middle."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 255]) + body[middle + 1 :]


def stale(checksum: bytes) -> bytes:
    """Return the CHECKSUM of another state of the file."""
    return b"0" * 64 + checksum[64:]


class TestAPublishedFile:
    @pytest.mark.parametrize(
        ("notation", "start", "count", "period"),
        [
            ("BTCUSDT/1m", "2024-12-31", 1440, day_of(parse_time("2024-12-31"))),  # spot in ms
            ("BTCUSDT/1m", "2025-01-01", 1440, day_of(parse_time("2025-01-01"))),  # spot in microseconds
            ("BTCUSDT/1h", "2025-01-01", 744, month_of(parse_time("2025-01-01"))),
            ("um:BTCUSDT/1h", "2022-05-31", 24, day_of(parse_time("2022-05-31"))),  # without a header
            ("um:BTCUSDT/1h", "2022-06-01", 24, day_of(parse_time("2022-06-01"))),  # with one
            ("cm:BTCUSD_PERP/1m", "2024-12-31", 1440, day_of(parse_time("2024-12-31"))),
            ("BTCUSDT/1M", "2024-12-01", 1, month_of(parse_time("2024-12-01"))),  # called 1mo
            ("um:BTCUSDT/3d", "2024-12-01", 9, month_of(parse_time("2024-12-01"))),
            ("cm:BTCUSD_PERP/1w", "2024-12-01", 5, month_of(parse_time("2024-12-01"))),
            ("币安人生USDT/1h", "2024-12-01", 24, day_of(parse_time("2024-12-01"))),
        ],
    )
    def test_gives_its_candles_digit_for_digit_and_its_checksum(
        self,
        run: Run,
        make_archives: MakeArchives,
        fake_time: FakeTime,
        downloads: Path,
        notation: str,
        start: str,
        count: int,
        period: Period,
    ) -> None:
        fake_time.clock.set(parse_time("2026-01-01"))
        series, store = parse_series(notation), CandleStore()
        store.add(series, generated(series, start, count)[1])
        exchange = run(store)
        batch, checksum = make_archives(exchange.archive_url, exchange.archive_list_url).fetch(series, period)
        expected = store.rows(series, period.span.start_ms, period.span.end_ms)
        assert len(expected) >= 1
        assert rows_of(batch) == columns_of(expected)
        assert len(checksum) == 64
        assert files_in(downloads) == []
        assert fake_time.waits == []
        assert len(exchange.requests) == 2

    def test_and_its_checksum_are_asked_for_at_the_same_time(self, host: Host) -> None:
        both = threading.Barrier(2, timeout=10)

        def when_both_are_asked_for(body: bytes) -> bytes:
            both.wait()  # breaks where one is asked for after the other
            return body

        for what in (CHECKSUM, ZIP):
            host.fault(what, AlterBody(when_both_are_asked_for))
        assert rows_of(host.fetch()[0]) == host.truth()
        assert not both.broken
        assert host.asked() == (1, 1)

    def test_the_checksum_is_the_files_own(self, host: Host) -> None:
        body = b""

        def keep(content: bytes) -> bytes:
            nonlocal body
            body = content
            return content

        host.fault(ZIP, AlterBody(keep))
        assert host.fetch()[1] == sha256(body)

    @pytest.mark.parametrize(
        ("place", "notation"),
        [
            ("spot/1m/with-checksum/BTCUSDT-1m-2020-01-01.zip", "BTCUSDT/1m"),
            ("spot/1m/with-checksum/BTCUSDT-1m-2020-01-02.zip", "BTCUSDT/1m"),
            ("spot/1m/with-checksum/BTCUSDT-1m-2020-01-03.zip", "BTCUSDT/1m"),
            ("spot/1h/with-checksum/BTCUSDT-1h-2024-01-15.zip", "BTCUSDT/1h"),
            ("spot/1h/with-checksum-2026-us/BTCUSDT-1h-2026-05-08.zip", "BTCUSDT/1h"),
            ("spot/1h/with-checksum-2026-us/BTCUSDT-1h-2026-05-09.zip", "BTCUSDT/1h"),
        ],
    )
    def test_recorded_zips_verify_against_their_recorded_checksums(
        self,
        shared_data: Path,
        run: Run,
        make_archives: MakeArchives,
        fake_time: FakeTime,
        place: str,
        notation: str,
    ) -> None:
        fake_time.clock.set(parse_time("2026-07-01"))
        path, series = shared_data / "archives" / place, parse_series(notation)
        recording = identify(path)
        assert recording is not None and recording.period is not None
        rows = list(read_rows(path))
        store = CandleStore()
        store.add(series, rows)
        checksum_path = path.with_name(path.name + ".CHECKSUM")
        store.keep_file(archive_key(series, recording.period), RecordedFile(path, checksum_path))
        exchange = run(store)
        client = make_archives(exchange.archive_url, exchange.archive_list_url)
        period = period_of_file(path.name)
        assert period is not None
        batch, checksum = client.fetch(series, period)
        assert rows_of(batch) == columns_of(rows)
        assert checksum == sha256(path.read_bytes()) == checksum_path.read_text()[:64]


class TestTheChecksum:
    def test_a_damaged_zip_is_never_parsed(self, host: Host, not_parsed: None, downloads: Path) -> None:
        host.fault(ZIP, AlterBody(spoiled), times=100)
        with pytest.raises(ArchiveUnavailable, match="its CHECKSUM file says"):
            host.fetch()
        assert host.asked() == (2, 2)
        assert files_in(downloads) == []

    def test_a_stale_checksum_makes_the_file_unavailable(self, host: Host, not_parsed: None, downloads: Path) -> None:
        host.fault(CHECKSUM, AlterBody(stale), times=100)
        with pytest.raises(ArchiveUnavailable, match="its CHECKSUM file says 0000"):
            host.fetch()
        assert host.asked() == (2, 2)
        assert files_in(downloads) == []

    @pytest.mark.parametrize(("what", "change"), [(ZIP, spoiled), (CHECKSUM, stale)], ids=["zip", "CHECKSUM"])
    def test_where_the_two_disagree_both_are_asked_for_once_more(
        self, host: Host, what: str, change: Callable[[bytes], bytes]
    ) -> None:
        host.fault(what, AlterBody(change))
        assert rows_of(host.fetch()[0]) == host.truth()
        assert host.asked() == (2, 2)

    def test_a_shorter_file_the_second_time_leaves_nothing_of_the_first(self, host: Host) -> None:
        host.fault(ZIP, AlterBody(lambda body: body + b"more"))
        assert rows_of(host.fetch()[0]) == host.truth()

    @pytest.mark.parametrize(
        "write",
        [
            lambda text: text + b"\n",
            lambda text: text + b"\r\n",
            lambda text: text[:64].upper() + text[64:],
            lambda text: text.replace(b"  ", b" *"),
            lambda text: text.replace(b"  ", b"\t"),
        ],
        ids=["newline", "windows newline", "upper case", "binary mark", "tab"],
    )
    def test_may_be_written_in_several_ways(self, host: Host, write: Callable[[bytes], bytes]) -> None:
        host.fault(CHECKSUM, AlterBody(write))
        batch, checksum = host.fetch()
        assert rows_of(batch) == host.truth()
        assert checksum == checksum.lower()
        assert host.asked() == (1, 1)

    @pytest.mark.parametrize(
        "write",
        [
            lambda text: b"",
            lambda text: text[:64],
            lambda text: text[1:],
            lambda text: b"g" + text[1:],
            lambda text: text.replace(b"BTCUSDT", b"ETHUSDT"),
            lambda text: text.replace(b"-01.zip", b"-02.zip"),
            lambda text: text.replace(b".zip", b".csv"),
            lambda text: text + b"\n" + text,
            lambda text: b"<html>404</html>",
            lambda text: b"\xff" * 80,
        ],
        ids=[
            "empty",
            "no name",
            "63 digits",
            "no hex digit",
            "another symbol",
            "another day",
            "another ending",
            "two lines",
            "html",
            "no text",
        ],
    )
    def test_that_is_not_the_files_is_asked_for_again_and_then_given_up(
        self, host: Host, not_parsed: None, write: Callable[[bytes], bytes]
    ) -> None:
        host.fault(CHECKSUM, AlterBody(write), times=ATTEMPTS)
        with pytest.raises(ArchiveUnavailable, match="the CHECKSUM file of BTCUSDT-1h-2024-03-01.zip reads"):
            host.fetch()
        assert host.asked() == (ATTEMPTS, 1)

    def test_that_is_unreadable_once_is_healed_by_asking_again(self, host: Host) -> None:
        host.fault(CHECKSUM, AlterBody(lambda text: b""))
        assert rows_of(host.fetch()[0]) == host.truth()

    def test_of_megabytes_is_refused(self, host: Host, not_parsed: None) -> None:
        host.fault(CHECKSUM, Answer(200, b"0" * (9 << 20)), times=ATTEMPTS)
        with pytest.raises(ArchiveUnavailable, match="CHECKSUM answers more than"):
            host.fetch()
        assert host.asked() == (1, 1)


class TestAFileThatIsNotThere:
    def test_is_unavailable_at_once(self, host: Host, fake_time: FakeTime) -> None:
        with pytest.raises(ArchiveUnavailable, match="2024-03-09.zip.CHECKSUM answers 404"):
            host.fetch(day_of(parse_time("2024-03-09")))
        assert host.asked() == (1, 1)
        assert fake_time.waits == []

    def test_may_have_a_checksum_without_a_zip(self, host: Host) -> None:
        host.fault(ZIP, Answer(404))
        with pytest.raises(ArchiveUnavailable, match="2024-03-01.zip answers 404"):
            host.fetch()
        assert host.asked() == (1, 1)

    @pytest.mark.parametrize("status", [301, 302, 400, 403, 410, 451])
    def test_whatever_word_the_host_uses(self, host: Host, status: int) -> None:
        host.fault(CHECKSUM, Answer(status, "<html></html>", {"Location": host.url}))
        with pytest.raises(ArchiveUnavailable, match=f"CHECKSUM answers {status}"):
            host.fetch()
        assert host.asked() == (1, 1)

    def test_the_next_file_of_the_host_is_still_asked_for(self, host: Host) -> None:
        with pytest.raises(ArchiveUnavailable):
            host.fetch(day_of(parse_time("2024-03-09")))
        assert rows_of(host.fetch()[0]) == host.truth()


class TestTrouble:
    @pytest.mark.parametrize("what", [CHECKSUM, ZIP])
    @pytest.mark.parametrize(
        "fault",
        [Answer(500), Answer(503, "busy"), Answer(429), Answer(408), CutBody(), Reset()],
        ids=["500", "503", "429", "408", "cut body", "reset"],
    )
    def test_is_sat_out(self, host: Host, fake_time: FakeTime, downloads: Path, what: str, fault: object) -> None:
        host.fault(what, fault, times=ATTEMPTS - 1)
        assert rows_of(host.fetch()[0]) == host.truth()
        assert host.asked() == ((ATTEMPTS, 1) if what == CHECKSUM else (1, ATTEMPTS))
        assert len(fake_time.waits) == ATTEMPTS - 1
        assert files_in(downloads) == []

    @pytest.mark.parametrize("what", [CHECKSUM, ZIP])
    @pytest.mark.parametrize("fault", [Answer(503), CutBody()], ids=["503", "cut body"])
    def test_for_ever_the_file_is_given_up(self, host: Host, downloads: Path, what: str, fault: object) -> None:
        host.fault(what, fault, times=ATTEMPTS)
        with pytest.raises(ArchiveUnavailable, match="given up after 4 attempts"):
            host.fetch()
        assert files_in(downloads) == []
        assert host.exchange.faults.pending() == 0
        assert rows_of(host.fetch()[0]) == host.truth()  # the host itself is not given up

    def test_a_verified_file_that_is_no_archive_is_unavailable(self, host: Host, downloads: Path) -> None:
        garbage = b"not a zip at all"
        host.fault(CHECKSUM, Answer(200, f"{sha256(garbage)}  BTCUSDT-1h-2024-03-01.zip"))
        host.fault(ZIP, Answer(200, garbage))
        with pytest.raises(ArchiveUnavailable, match="not a readable zip"):
            host.fetch()
        assert files_in(downloads) == []

    def test_a_disk_that_takes_no_more_makes_the_file_unavailable(self, host: Host, downloads: Path) -> None:
        resource = pytest.importorskip("resource")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # bytes
        try:
            with pytest.raises(ArchiveUnavailable, match=f"cannot be written to {downloads}: .*File too large"):
                host.fetch()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert files_in(downloads) == []
        assert rows_of(host.fetch()[0]) == host.truth()

    @pytest.mark.parametrize("where", ["its parent", "itself"])
    def test_a_folder_that_cannot_be_made_makes_the_file_unavailable(
        self, host: Host, downloads: Path, where: str
    ) -> None:
        file = downloads.parent if where == "its parent" else downloads
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a file where the folder should be")
        with pytest.raises(ArchiveUnavailable, match=f"cannot be written to {downloads}"):
            host.fetch()
        assert host.asked() == (0, 0)
        assert file.read_text() == "a file where the folder should be"

    def test_a_file_that_cannot_be_removed_afterwards_costs_no_candle(
        self, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: Path, missing_ok: bool = False) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "unlink", refuse)
        assert rows_of(host.fetch()[0]) == host.truth()


class TestADownloadThatIsOfNoUse:
    def test_is_not_waited_for_to_its_end(self, make_archives: MakeArchives, downloads: Path) -> None:
        with dripping_host() as url:
            began = time.monotonic()
            with pytest.raises(ArchiveUnavailable, match="CHECKSUM answers 404"):
                make_archives(url, url).fetch(SERIES, DAY)
        assert time.monotonic() - began < 10
        assert files_in(downloads) == []

    def test_does_not_hold_up_a_run_that_is_told_to_stop(self, host: Host, downloads: Path) -> None:
        def stopped(_: float) -> None:
            raise Interrupted("stopped", 130)

        client = ArchiveClient(host.url, host.url, downloads, connections=2, sleep=stopped)
        host.fault(ZIP, Stall(25))
        host.fault(CHECKSUM, Answer(503))
        began = time.monotonic()
        with pytest.raises(Interrupted):
            client.fetch(SERIES, DAY)
        assert time.monotonic() - began < 10
        assert files_in(downloads) == []


@contextlib.contextmanager
def dripping_host() -> Iterator[str]:
    """Run a host that has no CHECKSUM and sends a zip for minutes, a byte at a time. Yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_zip = self.path.endswith(ZIP)
            self.send_response(200 if is_zip else 404)
            self.send_header("Content-Length", str(5_000 if is_zip else 0))
            self.end_headers()
            with contextlib.suppress(OSError):  # until the client leaves
                for _ in range(5_000 if is_zip else 0):
                    self.wfile.write(b"0")
                    time.sleep(0.05)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class TestWhatAnEarlierRunLeft:
    def test_files_older_than_a_day_are_removed(self, host: Host, downloads: Path) -> None:
        downloads.mkdir(parents=True)
        ages = {"old.zip.a.part": 25, "old.zip.b.part": 48, "new.zip.a.part": 23, "new.zip.b.part": 0}
        for name, age_hours in ages.items():
            path = downloads / name
            path.write_bytes(b"x")
            moment = time.time() - age_hours * 3600
            os.utime(path, (moment, moment))
        (downloads / "a folder").mkdir()
        os.utime(downloads / "a folder", (0, 0))
        host.client.remove_leftovers()
        assert files_in(downloads) == ["a folder", "new.zip.a.part", "new.zip.b.part"]

    def test_without_a_folder_there_is_nothing_to_remove(self, host: Host, downloads: Path) -> None:
        host.client.remove_leftovers()
        assert not downloads.exists()


class SilentHost:
    """Takes connections, counts them, and closes them without a word."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                connection.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def silent() -> Iterator[SilentHost]:
    host = SilentHost()
    yield host
    host.close()


class TestAHostThatIsSilent:
    def test_is_left_out_after_the_first_time(
        self, silent: SilentHost, make_archives: MakeArchives, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = make_archives(silent.url, silent.url + "/bucket")
        with pytest.raises(ArchiveUnavailable, match="no whole answer from"):
            client.fetch(SERIES, DAY)
        connections = silent.connections
        assert ATTEMPTS <= connections <= 2 * ATTEMPTS  # who gives up first ends the other's attempts
        for _ in range(2):
            with pytest.raises(ArchiveUnavailable, match="no whole answer from"):
                client.fetch(SERIES, DAY)
        assert silent.connections == connections
        warnings = [
            record.getMessage() for record in caplog.records if "left out for five minutes" in record.getMessage()
        ]
        assert len(warnings) == 1 and silent.url in warnings[0]

    def test_that_is_the_listing_alone_leaves_the_files_usable(
        self, host: Host, silent: SilentHost, make_archives: MakeArchives
    ) -> None:
        client = make_archives(host.url, silent.url)
        for _ in range(2):
            with pytest.raises(ArchiveUnavailable):
                client.list_published(SERIES, DAY.span)
        assert silent.connections == ATTEMPTS
        assert rows_of(client.fetch(SERIES, DAY)[0]) == host.truth()

    def test_that_serves_the_files_alone_leaves_the_listing_usable(
        self, host: Host, silent: SilentHost, make_archives: MakeArchives
    ) -> None:
        client = make_archives(silent.url, host.exchange.archive_list_url)
        with pytest.raises(ArchiveUnavailable):
            client.fetch(SERIES, DAY)
        assert client.list_published(SERIES, DAY.span).has(month_of(DAY.span.start_ms))

    def test_that_stops_answering_midway_is_left_out_too(self, host: Host, fake_time: FakeTime) -> None:
        host.fetch()
        host.exchange.stop()
        with pytest.raises(ArchiveUnavailable):
            host.fetch()
        waited = len(fake_time.waits)
        with pytest.raises(ArchiveUnavailable):
            host.fetch(day_of(parse_time("2024-03-02")))
        assert len(fake_time.waits) == waited

    def test_that_was_away_for_ten_seconds_is_used_again_in_the_same_run(self, host: Host, fake_time: FakeTime) -> None:
        host.exchange.stop()
        with pytest.raises(ArchiveUnavailable):
            host.fetch()
        host.exchange.start()
        fake_time.clock.advance(280_000)
        with pytest.raises(ArchiveUnavailable):
            host.fetch()
        fake_time.clock.advance(20_000)
        assert rows_of(host.fetch()[0]) == host.truth()

    def test_is_asked_again_by_the_next_run(self, host: Host, make_archives: MakeArchives) -> None:
        host.exchange.stop()
        with pytest.raises(ArchiveUnavailable):
            host.fetch()
        host.exchange.start()
        client = make_archives(host.url, host.exchange.archive_list_url)
        assert rows_of(client.fetch(SERIES, DAY)[0]) == host.truth()


def test_of_a_refused_connection_the_deepest_cause_alone_is_shown(
    make_archives: MakeArchives, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_archives("http://127.0.0.1:1", "http://127.0.0.1:1/bucket")
    refused = f"ConnectionError: [Errno {errno.ECONNREFUSED}] {os.strerror(errno.ECONNREFUSED)}; check the network"
    for ask in (lambda: client.fetch(SERIES, DAY), lambda: client.list_published(SERIES, DAY.span)):
        with pytest.raises(ArchiveUnavailable) as caught:
            ask()
        assert refused in str(caught.value)
    assert "HTTPConnectionPool" not in caplog.text and "object at 0x" not in caplog.text


@pytest.mark.parametrize("url", ["https://data..binance.vision", f"https://{'a' * 70}.binance.vision", "http://.test"])
def test_an_address_that_is_none_is_a_wrong_setting(make_archives: MakeArchives, fake_time: FakeTime, url: str) -> None:
    client = make_archives(url, f"{url}/bucket")
    for ask in (lambda: client.fetch(SERIES, DAY), lambda: client.list_published(SERIES, DAY.span)):
        with pytest.raises(ConfigurationError, match="not a usable address"):
            ask()
    assert fake_time.waits == []


def fetched_at_once(host: Host, wanted: list[tuple[Series, Period]]) -> list[list[tuple[object, ...]]]:
    with ThreadPoolExecutor(len(wanted)) as threads:
        return [rows_of(batch) for batch, _ in threads.map(lambda one: host.client.fetch(*one), wanted)]


def test_several_threads_may_fetch_at_once(host: Host, downloads: Path) -> None:
    days = [DAY, day_of(parse_time("2024-03-02"))]
    assert fetched_at_once(host, [(SERIES, day) for day in days]) == [host.truth(day) for day in days]
    assert files_in(downloads) == []


def test_files_of_the_same_name_do_not_meet(host: Host, downloads: Path) -> None:
    futures = parse_series("um:BTCUSDT/1h")
    assert file_stem(futures, DAY) == file_stem(SERIES, DAY)
    rows = generated(futures, "2024-03-01", 24)[1]
    host.store.add(futures, rows)
    wanted = [SERIES, futures, SERIES, futures]
    together = threading.Barrier(len(wanted), timeout=10)

    def when_all_are_asked_for(body: bytes) -> bytes:
        together.wait()
        return body

    host.fault(ZIP, AlterBody(when_all_are_asked_for), times=len(wanted))
    expected = [host.truth(), columns_of(rows)] * 2
    assert expected[0] != expected[1]
    assert fetched_at_once(host, [(series, DAY) for series in wanted]) == expected
    assert not together.broken
    assert files_in(downloads) == []


def test_addresses_are_the_public_ones(make_archives: MakeArchives, http: responses.RequestsMock) -> None:
    series: Series = parse_series("cm:BTCUSD_PERP/1M")
    month = month_of(parse_time("2024-03-01"))
    client = make_archives("https://data.binance.vision", "https://list.test")
    name = "data/futures/cm/monthly/klines/BTCUSD_PERP/1mo/BTCUSD_PERP-1mo-2024-03.zip"
    for end in ("", ".CHECKSUM"):
        http.get(f"https://data.binance.vision/{name}{end}", status=404)
    with pytest.raises(ArchiveUnavailable, match="answers 404"):
        client.fetch(series, month)
    assert folder(series, month.cadence) in name
    assert len(http.calls) == 2
