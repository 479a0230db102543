"""What the path of a stream's address asks for (docs/binance.md, Streams). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from core.instrument import Market
from demo.stream_names import Route

_STREAMS = "streams="


@dataclass(frozen=True, slots=True)
class Asked:
    """Route, names and form of a handshake."""

    route: Route | None
    names: tuple[str, ...]
    combined: bool


def asked_for(market: Market, path: str) -> Asked | None:
    """Return what `path` (decoded, with its query) asks for, or None where there is no such path.

    `/ws`, `/ws/<stream>[/<stream>...]`, `/stream` and `/stream?streams=<stream>/<stream>`; on USD-M with
    `/public` or `/market` before it, or without.
    """
    route = None
    if market is Market.UM:
        route = next((one for one in Route if path.startswith(f"{one}/")), None)
        path = path.removeprefix(route or "")
    place, _, query = path.partition("?")
    if place.rstrip("/") == "/stream":
        texts = [part.removeprefix(_STREAMS) for part in query.split("&") if part.startswith(_STREAMS)]
        return Asked(route, _names("/".join(texts)), combined=True)
    if place == "/ws" or place.startswith("/ws/"):
        return Asked(route, _names(place.removeprefix("/ws")), combined=False)
    return None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split("/") if name)
