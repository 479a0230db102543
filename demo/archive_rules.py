"""What the archive host answers: files below `data/`, and the bucket's listing (docs/binance.md, Archives)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from email.utils import formatdate

from core.series import Series
from demo.archive_calendar import is_published, published_ms, published_periods
from demo.archive_files import ArchiveFiles
from demo.archive_names import Cadence, Period, archive_key, folder, period_of_key
from demo.bucket_listing import MAX_KEYS, BucketObject, listing_xml, no_such_key_xml
from demo.data_archives import DataArchives, checksum_text
from demo.market_data import MarketData
from demo.reply import XML_TYPE, ZIP_TYPE, Reply

_CHECKSUM = ".CHECKSUM"
_CHECKSUM_DIGITS = 64
_CHECKSUM_SPACES = 2


class ArchiveRules:
    """Answers for files and listings. The clock is an argument of each."""

    def __init__(self, data: MarketData, list_page_size: int = MAX_KEYS) -> None:
        self._store = data.store
        self._files = ArchiveFiles(data.store)
        self._others = DataArchives(data)
        self._page_size = list_page_size

    def answer_file(self, key: str, now_ms: int) -> Reply:
        """Return the zip or CHECKSUM at `key` (no leading slash), or 404 when it is not published at `now_ms`."""
        zip_key = key.removesuffix(_CHECKSUM)
        is_checksum = key != zip_key
        body, period = self._body(zip_key, is_checksum, now_ms), period_of_key(zip_key)
        if body is None or period is None:
            return Reply(404, no_such_key_xml(key), XML_TYPE)
        headers = {
            "Last-Modified": formatdate(published_ms(period) / 1000, usegmt=True),
            "ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"',
        }
        return Reply(200, body, "binary/octet-stream" if is_checksum else ZIP_TYPE, headers)

    def answer_listing(self, params: Mapping[str, str], now_ms: int) -> Reply:
        """Return a page of the bucket's listing at `now_ms`."""
        prefix = params.get("prefix", "")
        body = listing_xml(
            self._objects(prefix, now_ms),
            prefix=prefix,
            delimiter=params.get("delimiter", ""),
            marker=params.get("marker", ""),
            page_size=self._page_size,
        )
        return Reply(200, body, XML_TYPE)

    def _body(self, zip_key: str, is_checksum: bool, now_ms: int) -> bytes | None:
        """Return the zip or its CHECKSUM, None when it is not published."""
        found = self._find(zip_key)
        if found is None:
            content = self._others.zip_bytes(zip_key, now_ms)
            return checksum_text(content, zip_key) if is_checksum and content is not None else content
        if not is_published(self._store, *found, now_ms):
            return None
        return self._files.checksum_bytes(*found) if is_checksum else self._files.zip_bytes(*found)

    def _find(self, zip_key: str) -> tuple[Series, Period] | None:
        period = period_of_key(zip_key)
        if period is None:
            return None
        for series in self._store.series():
            if archive_key(series, period) == zip_key:
                return series, period
        return None

    def _objects(self, prefix: str, now_ms: int) -> Iterator[BucketObject]:
        yield from self._others.objects(prefix, now_ms)
        for series in self._store.series():
            for cadence in Cadence:
                place = folder(series, cadence)
                if place.startswith(prefix) or prefix.startswith(place):
                    yield from self._objects_of(series, cadence, now_ms)

    def _objects_of(self, series: Series, cadence: Cadence, now_ms: int) -> Iterator[BucketObject]:
        for period in published_periods(self._store, series, cadence, now_ms):
            key, modified_ms = archive_key(series, period), published_ms(period)
            checksum_size = _CHECKSUM_DIGITS + _CHECKSUM_SPACES + len(key.rpartition("/")[2].encode())
            yield BucketObject(key, modified_ms, self._files.known_size(series, period))
            yield BucketObject(key + _CHECKSUM, modified_ms, checksum_size)
