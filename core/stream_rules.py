"""What an exchange says about the live streams of one market and route. Each exchange's own are in `core/<exchange>/`.

A route is a part of the exchange's address; a connection has one route and carries the streams of that route only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from core.instrument import Market
from core.streams import StreamKey


class StreamRules(Protocol):
    """The streams of one market and route."""

    @property
    def market(self) -> Market:
        """The market."""

    @property
    def route(self) -> str:
        """The part of the address between the host and the path, such as `/market`, or nothing."""

    @property
    def path(self) -> str:
        """The end of the address, behind the route."""

    @property
    def most_streams(self) -> int:
        """How many streams the exchange allows on one connection."""

    @property
    def messages_per_second(self) -> int:
        """How many messages may be sent on a connection in any second; the exchange's limit leaves room for pongs."""

    @property
    def names_per_message(self) -> int:
        """How many streams one message may name."""

    @property
    def busy(self) -> StreamKey:
        """A stream that always delivers while the market trades: its silence is the silence of the connection."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What is subscribed to on every connection beside streams: what the exchange announces there."""

    def name(self, key: StreamKey) -> str:
        """Return the exchange's name of a stream."""

    def patience_ms(self, key: StreamKey) -> int:
        """Return how long a healthy stream may deliver nothing."""

    def request(self, wanted: bool, names: Iterable[str], number: int) -> str:
        """Return the text that subscribes to streams, or with `wanted` false ends them. `number` is in the answer."""
