"""The public archives: lists the files that exist and reads their candles after checking the checksum."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import requests

from core.archives import NO_ARCHIVES, ArchiveIndex, Cadence, Period, month_of
from core.binance.archives import ArchiveFile, file_stem, folder, index_of_files, period_of_file
from core.binance.publishing import has_daily_files, has_usable_monthly_files
from core.candles import CandleBatch
from core.errors import ArchiveUnavailable, Interrupted
from core.instrument import Market
from core.ranges import Span
from core.series import Series
from fetcher.at_once import both
from fetcher.binance.archive_csv import most_bytes, read_archive
from fetcher.http import (
    BODY_TIMEOUT_S,
    BodyTooLarge,
    Sleep,
    TemporaryFailure,
    new_session,
    read_body,
    send,
    with_retries,
)

_log = logging.getLogger(__name__)

_ATTEMPTS = 4
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")
_XML_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_SETTLED = re.compile("_?(SETTLED)+")  # suffix of a symbol; SETTLED also occurs twice
_MAX_TEXT_BYTES = 8 << 20
_MAX_LIST_PAGES = 1_000
_LEFTOVER_AGE_S = 86_400
# A short outage must not send a whole backfill through REST, a long one not cost a minute with each file.
_LEFT_OUT_S = 300
_DOWNLOAD_TIMEOUT_S = 900  # a month of 1m is 2 MB, a day of 1s 3 MB

Result = TypeVar("Result")


class ArchiveClient:
    """Reads archive files and their listing. Thread-safe.

    Every failure is ArchiveUnavailable: the caller then uses a finer source. A host that cannot
    be reached gets no further request for five minutes.
    """

    def __init__(
        self,
        base_url: str,
        list_url: str,
        download_dir: Path,
        *,
        connections: int,
        sleep: Sleep,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url = base_url
        self._list_url = list_url
        self._download_dir = download_dir
        self._sleep = sleep
        self._sessions = {url: new_session(connections, url) for url in (base_url, list_url)}
        self._monotonic_s = monotonic_s
        self._unreachable: dict[str, tuple[float, str]] = {}  # by base address: until when (monotonic seconds), why
        self._lock = threading.Lock()

    def remove_leftovers(self) -> None:
        """Delete unfinished downloads that are more than a day old; killed runs leave them."""
        if not self._download_dir.is_dir():
            return
        for path in self._download_dir.iterdir():
            if path.is_file() and time.time() - path.stat().st_mtime > _LEFTOVER_AGE_S:
                path.unlink(missing_ok=True)

    def list_published(self, series: Series, wanted: Span, expected: ArchiveIndex = NO_ARCHIVES) -> ArchiveIndex:
        """Return the files of the series that exist, as far as `wanted` needs them.

        Daily files are listed only from the first wanted month that has no monthly file. `expected` are the files that
        should be there: they tell where that will be, so that both listings are read at the same time. Raises
        ArchiveUnavailable when a listing cannot be read.
        """
        has_both = has_usable_monthly_files(series.interval) and has_daily_files(series.interval)
        guess_ms = _first_day(wanted, expected)
        if not has_both or not expected.months or guess_ms >= wanted.end_ms:
            months = self._list_months(series, wanted)
            days = self._list_days(series, wanted, _first_day(wanted, index_of_files(months)))
            return index_of_files(months + days)
        months, days = both(
            lambda: self._list_months(series, wanted), lambda: self._list_days(series, wanted, guess_ms)
        )
        if (first_ms := _first_day(wanted, index_of_files(months))) < guess_ms:
            days = self._list_days(series, wanted, first_ms)
        return index_of_files(months + days)

    def list_earlier_contracts(self, series: Series) -> list[str]:
        """Return the symbols, sorted, under which the archives keep earlier contracts of the series' symbol.

        When the exchange reuses the ticker of an ended contract, it renames the old one: LITUSDT to
        LITUSDTSETTLED, ICPUSDT to ICPUSDT_SETTLED (docs/binance.md, Listings and reused tickers). Sends one
        request, for the folders that begin with the symbol. Raises ArchiveUnavailable when it fails.
        """
        if series.market is Market.SPOT:
            return []  # spot renames nothing
        prefix = folder(series, Cadence.MONTHLY).removesuffix(f"/{series.interval.name}/")
        params = {"delimiter": "/", "prefix": prefix}
        names = self._get(self._list_url, params, self._list_url, _read_folders)
        return sorted(name for name in names if _SETTLED.fullmatch(name.removeprefix(series.symbol)))

    def fetch(self, series: Series, period: Period) -> tuple[CandleBatch, str]:
        """Return the candles of one archive file and its sha256. Raises ArchiveUnavailable."""
        return self.fetch_file(_candle_file(series, period), lambda part: read_archive(part, series, period))

    def fetch_file(self, file: ArchiveFile, read: Callable[[Path], Result]) -> tuple[Result, str]:
        """Return what `read` makes of a zip, and the zip's sha256. Raises ArchiveUnavailable.

        Nothing is read from the file before its CHECKSUM agrees.
        """
        address = self._address(file)
        try:
            with self._part_file(file.stem) as part:
                for _ in range(2):  # the file may be replaced between the answers
                    published, found = self._checksum_and_zip(file, part)
                    if found == published:
                        return read(part), published
        except OSError as error:
            raise ArchiveUnavailable(f"{address} cannot be written to {self._download_dir}: {error}") from error
        raise ArchiveUnavailable(f"{address} has sha256 {found}, its CHECKSUM file says {published}")

    def published_checksum(self, series: Series, period: Period) -> str:
        """Return the sha256 (hex) in the CHECKSUM file of an archive. Raises ArchiveUnavailable."""
        return self._checksum_of(_candle_file(series, period))

    def _checksum_of(self, file: ArchiveFile) -> str:
        address = f"{self._address(file)}.CHECKSUM"
        return self._get(address, {}, self._base_url, lambda text: _read_checksum(text, f"{file.stem}.zip"))

    def _address(self, file: ArchiveFile) -> str:
        return f"{self._base_url}/{file.folder}{file.stem}.zip"

    @contextmanager
    def _part_file(self, stem: str) -> Iterator[Path]:
        """Yield an empty file for one download; remove it at the end. Raises OSError.

        Its name is new: markets have files of the same name, and other threads and runs may fetch the same one.
        """
        self._download_dir.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{stem}.zip.", suffix=".part", dir=self._download_dir)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            _remove(Path(name))

    def _checksum_and_zip(self, file: ArchiveFile, part: Path) -> tuple[str, str]:
        """Return the published sha256 and that of the zip, which is written to `part`; ask for both at the same time.

        Where neither can be had, the error is the CHECKSUM's. Raises ArchiveUnavailable, and OSError of the disk.
        """
        given_up = threading.Event()
        threads = ThreadPoolExecutor(1, thread_name_prefix="zip")
        downloading = threads.submit(self._download, self._address(file), part, file.most_bytes, given_up)
        try:
            return self._checksum_of(file), downloading.result()
        except Exception as error:
            given_up.set()
            if not isinstance(error, Interrupted):  # a run that is told to stop waits for no download
                wait([downloading])  # the file is removed next
            raise
        finally:
            threads.shutdown(wait=False)

    def _download(self, address: str, part: Path, most: int, given_up: threading.Event) -> str:
        """Write the file at `address` to `part` and return its sha256 (hex); end early once `given_up` is set.

        Without fsync: the file is read at once and then removed, no crash can make anyone read it later.
        """

        def attempt() -> str:
            digest = hashlib.sha256()
            with part.open("wb") as file, self._send(address, {}, self._base_url) as response:
                for block in _body(response, address, most, _DOWNLOAD_TIMEOUT_S):
                    if given_up.is_set():
                        raise ArchiveUnavailable(f"{address} is of no use without its CHECKSUM")
                    file.write(block)
                    digest.update(block)
            return digest.hexdigest()

        return self._with_retries(self._base_url, attempt)

    def _list_months(self, series: Series, wanted: Span) -> list[str]:
        if not has_usable_monthly_files(series.interval):
            return []
        return self._list(series, month_of(wanted.start_ms), wanted.end_ms)

    def _list_days(self, series: Series, wanted: Span, first_ms: int) -> list[str]:
        """Return the names of the daily files from `first_ms` to the end of `wanted`; none where it lies behind."""
        if not has_daily_files(series.interval) or first_ms >= wanted.end_ms:
            return []
        return self._list(series, Period(Cadence.DAILY, Span(first_ms, first_ms + 1)), wanted.end_ms)

    def _list(self, series: Series, first: Period, until_ms: int) -> list[str]:
        prefix = folder(series, first.cadence)
        marker = f"{prefix}{file_stem(series, first)}"  # sorts just before the first file wanted
        names: list[str] = []
        for _ in range(_MAX_LIST_PAGES):
            params = {"delimiter": "/", "prefix": prefix, "marker": marker}
            page, next_marker = self._get(self._list_url, params, self._list_url, _read_listing)
            names += [key.rsplit("/", 1)[-1] for key in page]
            if next_marker is None or _reaches(names, until_ms):
                return names
            if next_marker <= marker:
                break
            marker = next_marker
        raise ArchiveUnavailable(f"the listing of {prefix} does not come to an end")

    def _get(self, address: str, params: dict[str, str], host: str, read: Callable[[str], Result]) -> Result:
        """Return what `read` makes of the text at `address`; it raises TemporaryFailure to try again."""

        def attempt() -> Result:
            with self._send(address, params, host) as response:
                content = b"".join(_body(response, address, _MAX_TEXT_BYTES))
            return read(content.decode("utf-8", errors="replace"))

        return self._with_retries(host, attempt)

    def _with_retries(self, host: str, attempt: Callable[[], Result]) -> Result:
        try:
            return with_retries(attempt, self._sleep, _ATTEMPTS)
        except HostSilent as failure:
            with self._lock:
                if self._why_left_out(host) is None:
                    _log.warning("%s cannot be reached and is left out for five minutes: %s", host, failure)
                    self._unreachable[host] = (self._monotonic_s() + _LEFT_OUT_S, str(failure))
            raise

    def _why_left_out(self, host: str) -> str | None:
        until_s, why = self._unreachable.get(host, (-math.inf, ""))
        return why if self._monotonic_s() < until_s else None

    def _send(self, address: str, params: dict[str, str], host: str) -> requests.Response:
        if (why := self._why_left_out(host)) is not None:
            raise ArchiveUnavailable(why)
        try:
            response = send(self._sessions[host], address, params)
        except TemporaryFailure as failure:
            raise TemporaryFailure(str(failure), HostSilent) from failure
        status = response.status_code
        if status == 200:
            return response
        response.close()
        if status >= 500 or status in (408, 429):
            raise TemporaryFailure(f"{address} answers {status}", ArchiveUnavailable)
        raise ArchiveUnavailable(f"{address} answers {status}: not published, or not for this address")


def _body(
    response: requests.Response, address: str, most_bytes: int, most_s: float = BODY_TIMEOUT_S
) -> Iterator[bytes]:
    """Yield the body. A body that is never complete makes the archive unavailable, not the market."""
    try:
        yield from read_body(response, address, most_bytes, most_s)
    except BodyTooLarge as error:
        raise ArchiveUnavailable(str(error)) from error
    except TemporaryFailure as failure:
        raise TemporaryFailure(str(failure), ArchiveUnavailable) from failure


class HostSilent(ArchiveUnavailable):
    """All attempts failed, and in the last one the host could not be reached."""


def _candle_file(series: Series, period: Period) -> ArchiveFile:
    return ArchiveFile(folder(series, period.cadence), file_stem(series, period), most_bytes(series, period))


def _first_day(wanted: Span, known: ArchiveIndex) -> int:
    """Return where the first wanted month begins (epoch ms) that no monthly file of `known` holds."""
    first_ms = wanted.start_ms
    while first_ms < wanted.end_ms and known.has(month_of(first_ms)):
        first_ms = month_of(first_ms).span.end_ms
    return first_ms


def _reaches(names: list[str], until_ms: int) -> bool:
    """Whether an ascending listing has reached a file that begins at or after `until_ms`."""
    periods = [period for period in map(period_of_file, names[-2:]) if period is not None]
    return any(period.span.start_ms >= until_ms for period in periods)


def _read_checksum(text: str, name: str) -> str:
    match = _CHECKSUM.fullmatch(text)
    if match is None or match[2] != name:
        raise TemporaryFailure(f"the CHECKSUM file of {name} reads {text[:200]!r}", ArchiveUnavailable)
    return match[1].lower()


def _read_listing(text: str) -> tuple[list[str], str | None]:
    """Return the keys of a ListBucketResult page and the marker of the next page, if there is one."""
    root = _parse_listing(text)
    keys = [item.findtext(f"{_XML_NAMESPACE}Key", "") for item in root.iter(f"{_XML_NAMESPACE}Contents")]
    if root.findtext(f"{_XML_NAMESPACE}IsTruncated") != "true":
        return keys, None
    return keys, root.findtext(f"{_XML_NAMESPACE}NextMarker") or (keys[-1] if keys else None)


def _read_folders(text: str) -> list[str]:
    """Return the last part of each folder (CommonPrefixes) of a ListBucketResult page."""
    found = _parse_listing(text).iter(f"{_XML_NAMESPACE}CommonPrefixes")
    return [item.findtext(f"{_XML_NAMESPACE}Prefix", "").rstrip("/").rsplit("/", 1)[-1] for item in found]


def _parse_listing(text: str) -> ElementTree.Element:
    try:
        # The standard parser resolves no external entities, and the bucket's XML declares no entities of its own.
        root = ElementTree.fromstring(text)  # noqa: S314
    except ElementTree.ParseError as error:
        raise TemporaryFailure(f"the archive listing is not readable XML: {error}", ArchiveUnavailable) from error
    if root.tag != f"{_XML_NAMESPACE}ListBucketResult":
        raise TemporaryFailure(f"the archive listing is {root.tag[:60]}, not a ListBucketResult", ArchiveUnavailable)
    return root


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # a later run removes it
        _log.debug("%s cannot be removed: %s", path, error)
