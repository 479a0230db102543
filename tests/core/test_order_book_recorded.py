"""Recorded sessions that have a book's changes, a snapshot of it and its best prices, all with update ids."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core.market_data import BookChange, BookSnapshot, Level
from core.order_book import BookFault, BookRule, OrderBook
from tests.conftest import SHARED_DATA

_LIMIT = 1000  # of the recorded snapshots
_SHOWN = 20
Best = tuple[tuple[Level, ...], tuple[Level, ...]]


@pytest.fixture
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("the recorded Binance data is not on this machine")
    return SHARED_DATA


class _Session:
    """The frames of a recording, and its snapshots by symbol."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.snapshots: dict[str, BookSnapshot] = {}

    def add(self, text: str, symbol: str) -> None:
        body = json.loads(text)
        if "lastUpdateId" in body:
            bids, asks = ([(price, quantity) for price, quantity in body[side]] for side in ("bids", "asks"))
            self.snapshots[symbol] = BookSnapshot(body["lastUpdateId"], _LIMIT, bids, asks)
        elif "stream" in body:
            self.frames.append(body["data"])

    def books(self, rule: BookRule) -> tuple[dict[tuple[str, int], Best], Counter[str]]:
        """Return the best levels after every change of a ready book, by symbol and update id, and what happened."""
        books = {symbol: OrderBook(rule, _SHOWN) for symbol in self.snapshots}
        found, happened = {}, Counter[str]()
        for frame in self.frames:
            if frame.get("e") != "depthUpdate":
                continue
            book, snapshot = books[frame["s"]], self.snapshots[frame["s"]]
            change = _change(frame)
            happened[str(book.take(change))] += 1
            if book.needs_snapshot and change.last_id >= snapshot.last_id:
                happened[str(book.begin(snapshot))] += 1
            if book.is_ready:
                found[frame["s"], book.last_id] = book.best(_SHOWN)
        return found, happened


def _change(frame: dict[str, Any]) -> BookChange:
    bids, asks = ([(price, quantity) for price, quantity in frame[side]] for side in ("b", "a"))
    return BookChange(frame["E"], frame["U"], frame["u"], frame.get("pu"), bids, asks)


def _cryptofeed(data: Path, name: str) -> _Session:
    session = _Session()
    with gzip.open(data / "rest" / f"cryptofeed.{name}.depth.txt.gz", "rt") as lines:
        for line in lines:
            if "lastUpdateId" in line:
                session.add(line[line.index("{") :], line.partition("symbol=")[2].partition("&")[0])
    with gzip.open(data / "ws" / f"cryptofeed.{name}.ws.1.0.txt.gz", "rt") as lines:
        for line in lines:
            if "{" in line:
                session.add(line[line.index("{") :], "")
    return session


def _hftbacktest(data: Path) -> _Session:
    session = _Session()
    with gzip.open(data / "ws" / "hftbacktest.spot.btcusdt_20240808.gz", "rt") as lines:
        for line in lines:
            session.add(line[line.index("{") :], "BTCUSDT")
    return session


def _agreeing(session: _Session, books: dict[tuple[str, int], Best]) -> int:
    """Return how many frames of best prices have the update id of a book; each must have its best levels."""
    count = 0
    for frame in session.frames:
        if {"b", "B", "a", "A"} <= frame.keys() and (best := books.get((frame["s"], frame["u"]))) is not None:
            assert (best[0][0], best[1][0]) == ((frame["b"], frame["B"]), (frame["a"], frame["A"]))
            count += 1
    return count


@pytest.mark.parametrize(
    ("name", "rule", "agreeing"), [("BINANCE", BookRule.SPOT, 26), ("BINANCE_FUTURES", BookRule.FUTURES, 50)]
)
def test_a_kept_book_has_the_best_prices_that_the_exchange_says_at_the_same_id(
    shared_data: Path, name: str, rule: BookRule, agreeing: int
) -> None:
    session = _cryptofeed(shared_data, name)
    books, happened = session.books(rule)
    assert len({symbol for symbol, _ in books}) == 4
    assert happened.keys() == {"None"}, "nothing is missing in the recording"
    assert _agreeing(session, books) == agreeing


def test_a_book_of_many_changes_is_kept_until_the_price_leaves_the_snapshot(shared_data: Path) -> None:
    session = _hftbacktest(shared_data)
    books, happened = session.books(BookRule.SPOT)
    assert len(books) > 2_400
    assert happened[BookFault.TOO_FEW_LEVELS] == 1, "1000 levels of BTCUSDT lasted four minutes"
    assert happened[BookFault.MISSING] == happened[BookFault.CROSSED] == 0
    assert _agreeing(session, books) > 400


@pytest.mark.parametrize("name", ["BINANCE", "BINANCE_FUTURES"])
def test_a_snapshot_has_what_the_changes_up_to_it_said(shared_data: Path, name: str) -> None:
    """Where a change ended with the snapshot's id, the two must agree on every level that was changed."""
    session = _cryptofeed(shared_data, name)
    compared = 0
    for symbol, snapshot in session.snapshots.items():
        changes = [frame for frame in session.frames if frame.get("e") == "depthUpdate" and frame["s"] == symbol]
        if snapshot.last_id not in {frame["u"] for frame in changes}:
            continue
        for levels, side in ((snapshot.bids, "b"), (snapshot.asks, "a")):
            last = {p: q for frame in changes if frame["u"] <= snapshot.last_id for p, q in frame[side]}
            there, is_whole = dict(levels), len(levels) < _LIMIT
            for price, quantity in last.items():
                if not quantity.strip("0."):
                    assert price not in there
                elif is_whole:
                    assert there[price] == quantity
                compared += 1
    assert compared > 0
