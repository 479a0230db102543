"""Which kinds of live data are wanted of which instruments. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.errors import ConfigurationError
from core.exchanges import offered_depths, offered_kinds
from core.instrument import ExchangeName, Market
from core.stream_kinds import BOOKS, StreamKind
from core.streams import StreamKey
from core.wanted import WantedSeries

MOST_LEVELS = 500
"""Of a side of an order book. Half of what a snapshot has on futures, so that a book lasts for a while."""


def parse_kinds(text: str) -> tuple[StreamKind, ...]:
    """Return the kinds in a list such as `kline,aggtrade`. Raises ValueError, which names all there are."""
    try:
        found = tuple(dict.fromkeys(StreamKind(part.strip()) for part in text.split(",")))
    except ValueError as error:
        raise ValueError(f"one or more of {', '.join(StreamKind)}, with commas between them") from error
    return found


def require_offered(kinds: Sequence[StreamKind], exchange: ExchangeName, market: Market, whose: str) -> None:
    """Raise ConfigurationError when a market does not have one of `kinds`; it names those that it has."""
    offered = offered_kinds(exchange, market)
    for kind in kinds:
        if kind not in offered:
            raise ConfigurationError(
                f"{whose}: market {market} offers no {kind}; there are {', '.join(offered)} (symbols.yml can say for "
                "each symbol what is streamed: streams: [kline, aggtrade])"
            )


def split_by_kind(
    wanted: Sequence[WantedSeries], asked: Sequence[StreamKind] | None, default: Sequence[StreamKind]
) -> tuple[list[WantedSeries], list[StreamKey]]:
    """Return the series whose candles are wanted, and the streams of the other kinds of active ones.

    `asked` are the kinds of this run, above those of the list; `default` are those of what the list says nothing of.
    Raises ConfigurationError when a market does not have a kind.
    """
    candles: list[WantedSeries] = []
    others: dict[StreamKey, None] = {}
    for one in wanted:
        kinds = asked or one.streams or default
        instrument = one.series.instrument
        require_offered(kinds, instrument.exchange, instrument.market, str(one.series))
        if StreamKind.KLINE in kinds:
            candles.append(one)
        if one.active:
            others |= {StreamKey(kind, instrument): None for kind in kinds if kind is not StreamKind.KLINE}
    return candles, list(others)


def with_levels(keys: Sequence[StreamKey], levels: int) -> list[StreamKey]:
    """Return the streams, those of order books with so many levels of a side to be stored.

    Raises ConfigurationError when there is no stream of so many, or both kinds are wanted of one instrument.
    """
    if not 1 <= levels <= MOST_LEVELS:
        raise ConfigurationError(
            f"--depth, DEFAULT_DEPTH: expected a whole number from 1 to {MOST_LEVELS}, not {levels}"
        )
    found = [replace(key, levels=levels) if key.kind in BOOKS else key for key in keys]
    for key in found:
        offered = offered_depths(key.instrument.exchange)
        if key.kind is StreamKind.DEPTH and levels not in offered:
            raise ConfigurationError(
                f"{key.instrument}: there is no stream of {levels} levels of an order book; choose one of "
                f"{', '.join(map(str, offered))} (--depth, DEFAULT_DEPTH), or depth_full instead of depth"
            )
    whole = {key.instrument for key in found if key.kind is StreamKind.DEPTH_FULL}
    if both := [key.instrument for key in found if key.kind is StreamKind.DEPTH and key.instrument in whole]:
        raise ConfigurationError(f"{both[0]}: depth and depth_full are stored in one table; choose one of them")
    return found
