"""Archives other than klines: aggregate trades of all markets, settled funding of futures (docs/binance.md, Archives).

Made of the candles when they are asked for. A day of a busy symbol has hundreds of thousands of trades and
takes seconds, so tests serve quiet ones or short histories.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache

from core.instrument import Market
from core.times import parse_time, to_datetime
from demo.archive_calendar import published_ms
from demo.archive_names import MARKET_FOLDERS, Cadence, Period, day_of, month_of, period_of_key
from demo.bucket_listing import BucketObject
from demo.market_data import MarketData

_SPOT_MICROSECONDS_FROM_MS = parse_time("2025-01-01")
_FUTURES_HEADER_FROM_MS = parse_time("2022-06-01")
_FILES_KEPT = 8
_NAME = re.compile(
    r"(?P<folder>data/.+)/(?P<cadence>daily|monthly)/(?P<kind>aggTrades|fundingRate)"
    r"/(?P<symbol>[^/]+)/(?P=symbol)-(?P=kind)-[\d-]+\.zip"
)


class DataKind(StrEnum):
    """What a file holds; also its folder and a part of its name."""

    AGGREGATES = "aggTrades"
    FUNDING = "fundingRate"


_HEADERS = {
    DataKind.AGGREGATES: ("agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"),
    DataKind.FUNDING: "calc_time,funding_interval_hours,last_funding_rate",
}


class DataArchives:
    """Files by their path below the host."""

    def __init__(self, data: MarketData) -> None:
        self._data = data
        self._made = lru_cache(maxsize=_FILES_KEPT)(self._make)

    def zip_bytes(self, key: str, now_ms: int) -> bytes | None:
        """Return the zip at `key`, or None when it is not published at `now_ms`."""
        match, period = _NAME.fullmatch(key), period_of_key(key)
        market = next((one for one, folder in MARKET_FOLDERS.items() if match and folder == match["folder"]), None)
        if match is None or period is None or market is None or period.cadence.value != match["cadence"]:
            return None
        kind = DataKind(match["kind"])
        is_there = self._has(market, match["symbol"], period) and kind in _kinds(market, period.cadence)
        if published_ms(period) > now_ms or not is_there:
            return None
        return self._made(kind, market, match["symbol"], period, self._data.store.revision)

    def objects(self, prefix: str, now_ms: int) -> Iterator[BucketObject]:
        """Yield what is published at `now_ms` below `prefix`, as the bucket's listing tells it."""
        for market in Market:
            for cadence in Cadence:
                for kind in _kinds(market, cadence):
                    for symbol in self._data.store.symbols(market):
                        place = f"{MARKET_FOLDERS[market]}/{cadence}/{kind}/{symbol}/"
                        if place.startswith(prefix) or prefix.startswith(place):
                            yield from self._objects_of(market, symbol, cadence, f"{place}{symbol}-{kind}-", now_ms)

    def _objects_of(
        self, market: Market, symbol: str, cadence: Cadence, stem: str, now_ms: int
    ) -> Iterator[BucketObject]:
        series = self._data.ids.finest(market, symbol)
        if series is None:
            return
        candles, position = self._data.store.candles(series), 0
        while position < len(candles):
            ms = candles.times[position]
            period = month_of(ms) if cadence is Cadence.MONTHLY else day_of(ms)
            if published_ms(period) <= now_ms:
                form = "%Y-%m" if cadence is Cadence.MONTHLY else "%Y-%m-%d"
                key = f"{stem}{to_datetime(period.span.start_ms).strftime(form)}.zip"
                yield BucketObject(key, published_ms(period), 0)
                yield BucketObject(f"{key}.CHECKSUM", published_ms(period), len(checksum_text(b"", key)))
            position = candles.first_at_or_after(period.span.end_ms)

    def _has(self, market: Market, symbol: str, period: Period) -> bool:
        series = self._data.ids.finest(market, symbol)
        if series is None:
            return False
        candles = self._data.store.candles(series)
        first = candles.first_at_or_after(period.span.start_ms)
        return first < len(candles) and candles.times[first] < period.span.end_ms

    def _make(self, kind: DataKind, market: Market, symbol: str, period: Period, _revision: int) -> bytes:
        form = "%Y-%m" if period.cadence is Cadence.MONTHLY else "%Y-%m-%d"
        when = to_datetime(published_ms(period))
        name = f"{symbol}-{kind}-{to_datetime(period.span.start_ms).strftime(form)}.csv"
        info = zipfile.ZipInfo(name, (when.year, when.month, when.day, when.hour, when.minute, when.second))
        is_aggregates = kind is DataKind.AGGREGATES
        lines = self._aggregates(market, symbol, period) if is_aggregates else self._funding(market, symbol, period)
        if market is not Market.SPOT and (period.span.start_ms >= _FUTURES_HEADER_FROM_MS or not is_aggregates):
            lines = [_HEADERS[kind], *lines]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(info, "\n".join([*lines, ""]), zipfile.ZIP_DEFLATED, compresslevel=1)
        return packed.getvalue()

    def _aggregates(self, market: Market, symbol: str, period: Period) -> list[str]:
        trades = self._data.history.from_time(market, symbol, period.span.start_ms, period.span.end_ms)
        if market is Market.SPOT:
            micro = "000" if period.span.start_ms >= _SPOT_MICROSECONDS_FROM_MS else ""
            return [
                f"{one.id},{one.price},{one.quantity},{one.first_id},{one.last_id},{one.at_ms}{micro},"
                f"{one.is_buyer_maker},True"
                for one in trades
            ]
        fraction = ".0" if market is Market.CM else ""  # contracts are written with one
        return [
            f"{one.id},{one.price},{one.quantity}{fraction},{one.first_id},{one.last_id},{one.at_ms},"
            f"{str(one.is_buyer_maker).lower()}"
            for one in trades
        ]

    def _funding(self, market: Market, symbol: str, period: Period) -> list[str]:
        settled = self._data.funding.settled(market, symbol, period.span.start_ms, period.span.end_ms)
        return [f"{one.at_ms},{one.hours},{one.rate}" for one in settled]


def checksum_text(content: bytes, key: str) -> bytes:
    """Return the CHECKSUM of a zip at `key`."""
    return f"{hashlib.sha256(content).hexdigest()}  {key.rpartition('/')[2]}".encode()


def _kinds(market: Market, cadence: Cadence) -> list[DataKind]:
    has_funding = market is not Market.SPOT and cadence is Cadence.MONTHLY
    return [DataKind.AGGREGATES, *([DataKind.FUNDING] if has_funding else [])]
