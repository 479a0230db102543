"""Reads the frames of Binance's streams of order books, and its snapshots (docs/binance.md, Order book)."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Annotated

import msgspec

from core.errors import UnusableAnswer, UnusableFrame
from core.instrument import Market
from core.market_data import BookChange, BookSnapshot, BookTop, Level
from core.stream_kinds import StreamKind
from core.streams import StreamKey

# Plain decimals within the bounds of core/validation.py, as the exchange writes them.
_DIGITS = r"(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?\Z"
_Above0 = Annotated[str, msgspec.Meta(pattern=r"\A(?=[0-9.]*[1-9])" + _DIGITS)]
_From0 = Annotated[str, msgspec.Meta(pattern=r"\A" + _DIGITS)]
_Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_IdOrNone = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]  # -1 was seen once
_LEAST_MICROSECONDS = 10**14
_Time = Annotated[int, msgspec.Meta(ge=10**12, lt=4_102_444_800_000_000)]  # 2001 to 2100, in ms or microseconds
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_CHANGE = "depthUpdate"


class _Change(msgspec.Struct):
    e: str
    E: _Time
    s: str
    U: _Id
    u: _Id
    b: list[tuple[_Above0, _From0]]
    a: list[tuple[_Above0, _From0]]
    pu: _IdOrNone | None = None  # futures only


class _ChangeFrame(msgspec.Struct):
    data: _Change


class _Snapshot(msgspec.Struct):
    lastUpdateId: _Id  # noqa: N815 - the exchange's name
    bids: list[tuple[_Above0, _Above0]]
    asks: list[tuple[_Above0, _Above0]]


class _SnapshotFrame(msgspec.Struct):
    data: _Snapshot


_changes = msgspec.json.Decoder(_ChangeFrame)
_snapshots = msgspec.json.Decoder(_SnapshotFrame)


def read_book(key: StreamKey, frame: bytes, received_ms: int) -> BookTop | BookChange:
    """Return the best levels (`depth`) or a change (`depth_full`). Raises UnusableFrame.

    Frames of the best levels on spot say neither symbol nor time: the name of their stream tells the symbol.
    """
    try:
        if key.kind is StreamKind.DEPTH and key.market is Market.SPOT:
            book = _snapshots.decode(frame).data
            return _top(key, None, received_ms, book.lastUpdateId, (book.bids, book.asks))
        change = _changes.decode(frame).data
    except _UNREADABLE as error:
        raise UnusableFrame(f"not a frame of {key.kind}: {error}") from error
    if change.e != _CHANGE or change.s != key.instrument.symbol:
        raise UnusableFrame(f"{change.e} of {change.s} in the stream of {key}")
    time_ms = change.E // 1000 if change.E >= _LEAST_MICROSECONDS else change.E
    if key.kind is StreamKind.DEPTH:
        return _top(key, time_ms, received_ms, change.u, (change.b, change.a))
    if change.u < change.U or (change.pu is None) != (key.market is Market.SPOT):
        raise UnusableFrame("its update ids are not those of a change")
    return BookChange(time_ms, change.U, change.u, change.pu, change.b, change.a)


def read_snapshot(body: object, limit: int) -> BookSnapshot:
    """Return the snapshot that REST has answered. Raises UnusableAnswer."""
    try:
        book = msgspec.convert(body, _Snapshot)
    except msgspec.ValidationError as error:
        raise UnusableAnswer(f"not an order book: {error}") from error
    if (why := _why_impossible(book.bids, book.asks, limit)) is not None:
        raise UnusableAnswer(f"an order book {why}")
    return BookSnapshot(book.lastUpdateId, limit, book.bids, book.asks)


def _top(
    key: StreamKey, event_ms: int | None, received_ms: int, last_id: int, sides: tuple[list[Level], list[Level]]
) -> BookTop:
    bids, asks = sides
    levels = key.levels or 0
    if any(not quantity.strip("0.") for side in sides for _, quantity in side):
        raise UnusableFrame("a level without a quantity")
    if (why := _why_impossible(bids, asks, levels)) is not None:
        raise UnusableFrame(f"an order book {why}")
    return BookTop(event_ms, received_ms, last_id, levels, bids, asks)


def _why_impossible(bids: list[Level], asks: list[Level], most: int) -> str | None:
    """Return why these cannot be the best `most` levels, best first; None when they can."""
    if len(bids) > most or len(asks) > most:
        return f"of more than {most} levels"
    falling = [Decimal(price) for price, _ in bids]
    rising = [Decimal(price) for price, _ in asks]
    if any(worse >= better for better, worse in pairwise(falling)):
        return "whose bids are not in order"
    if any(worse <= better for better, worse in pairwise(rising)):
        return "whose asks are not in order"
    if falling and rising and falling[0] >= rising[0]:
        return "whose best bid is not below its best ask"
    return None
