"""When a stored candle counts as witnessed: a source other than its own says the same. Pure decisions.

The cheapest witness are the exchange's own longer candles. Where they differ from what the stored candles make, the
candles of that time are compared one by one, and two of three sources decide (docs/is-my-data-complete.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.candles import CandleBatch, value_lines
from core.compare import Difference, Kind, compare
from core.intervals import INTERVALS, Interval
from core.listing import ListingPeriod
from core.longer import make_longer
from core.ranges import Span, merge, span_or_none
from core.sources import AllowedSources, Source

_HOUR, _DAY = INTERVALS["1h"], INTERVALS["1d"]


def witness_interval(interval: Interval) -> Interval:
    """Return the interval of the candles that witness those of `interval`: 1h; for 1h and longer 1d; for 1d 1h."""
    return _HOUR if interval.typical_ms < _HOUR.typical_ms or interval is _DAY else _DAY


def bucket_interval(interval: Interval) -> Interval:
    """Return the interval at which candles and witness are compared: the longer of the two."""
    return max(interval, witness_interval(interval), key=lambda one: one.typical_ms)


def can_witness(witness: Source, of: Source, allowed: AllowedSources) -> bool:
    """Whether longer candles from `witness` are a source other than `of`.

    Archives witness REST, and REST archives. Where only archives are allowed, the file of the longer candles is
    another file at least.
    """
    return witness.is_archive is not of.is_archive or (witness.is_archive and not allowed.rest)


def whole_buckets(interval: Interval, spans: Iterable[Span], listing: ListingPeriod) -> list[Span]:
    """Return the stretches of `spans` that are whole candles of `interval`, merged, ascending.

    Nothing is lacking before the listing and after its end: a bucket that reaches beyond them is whole too.
    """
    known = list(spans)
    if listing.first_ms is not None and interval.floor(listing.first_ms) < listing.first_ms:
        known.append(Span(interval.floor(listing.first_ms), listing.first_ms))
    if listing.end_ms is not None and listing.end_ms < interval.ceil(listing.end_ms):
        known.append(Span(listing.end_ms, interval.ceil(listing.end_ms)))
    whole = (span_or_none(interval.ceil(span.start_ms), interval.floor(span.end_ms)) for span in merge(known))
    return [span for span in whole if span is not None]


def differing_buckets(made: CandleBatch, witness: CandleBatch, interval: Interval) -> list[Span]:
    """Return the buckets where two batches of candles of `interval` differ, in order."""
    if made.rows == witness.rows and value_lines(made).equals(value_lines(witness)):
        return []
    return [interval.slot_of(difference.time_ms) for difference in compare(made, witness)]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The candles of one bucket after a comparison with other sources."""

    contradicted: tuple[Difference, ...] = ()  # two sources say the same, and the stored candle is different
    undecided: tuple[int, ...] = ()  # open times, epoch ms, about which no two sources agree

    @property
    def is_confirmed(self) -> bool:
        """Whether every stored candle has a second source that says the same."""
        return not self.contradicted and not self.undecided


def judge(stored: CandleBatch, others: Sequence[CandleBatch], longer: CandleBatch, interval: Interval) -> Judgement:
    """Judge the stored candles of one bucket: `others` are the same candles from other sources, each of its own.

    One equal source confirms a candle. Two that are equal to each other and different from it contradict it. A single
    other source contradicts it only together with the bucket's candle in `longer` (of `interval`), which its candles
    must make. What a single source lacks is never a contradiction: an empty answer proves nothing.
    """
    voices = [_by_time(one) for one in others]
    alone_is_right = len(others) == 1 and not compare(make_longer(others[0], interval), longer)
    contradicted, undecided = [], []
    mine = _by_time(stored)
    for time_ms in sorted({*mine, *(time for voice in voices for time in voice)}):
        line, heard = mine.get(time_ms), [voice.get(time_ms) for voice in voices]
        if line in heard:
            continue
        agreed = bool(heard) and all(one == heard[0] for one in heard)
        if agreed and (len(heard) > 1 or (alone_is_right and heard[0] is not None)):
            kind = Kind.MISSING if line is None else Kind.EXTRA if heard[0] is None else Kind.DIFFERENT
            contradicted.append(Difference(time_ms, kind, _values(line), _values(heard[0])))
        else:
            undecided.append(time_ms)
    return Judgement(tuple(contradicted), tuple(undecided))


def _by_time(batch: CandleBatch) -> dict[int, str]:
    texts = value_lines(batch).to_pylist() if batch.rows else []
    return dict(zip(batch.open_times(), texts, strict=True))


def _values(line: str | None) -> tuple[str, ...] | None:
    return None if line is None else tuple(line.split(",")[1:])
