"""Prices and volumes as whole numbers of their smallest unit, and as the text that each market writes.

Spot writes 8 decimals whatever the tick; USD-M 2, 3 and 5; COIN-M 1, none (contracts) and 8 (base
asset), as seen in recorded archives.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.instrument import Market
from demo.candle_rows import Row

Ticks = tuple[int, int, int, int, int, int, int, int, int, int, int]
"""A candle in whole numbers, in the order of `Row` without its last item."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How one market counts and writes. A unit is how many ticks make 1; a template writes eight decimals."""

    price_unit: int
    volume_unit: int
    quote_unit: int
    template: str  # open, high, low, close, volume, quote volume, taker volume, taker quote volume


def _scale(price: tuple[int, int], volume: tuple[int, int], quote: tuple[int, int]) -> Scale:
    """Each pair: decimals that are counted, decimals that are written."""
    numbers = [_number(*price)] * 4 + [_number(*volume), _number(*quote)] * 2
    return Scale(10 ** price[0], 10 ** volume[0], 10 ** quote[0], " ".join(numbers))


def _number(counted: int, written: int) -> str:
    # A whole number still takes its (always zero) fraction; "%.0s" swallows it.
    return f"%d.%0{counted}d" + "0" * (written - counted) if written else "%d%.0s"


SCALES = {
    Market.SPOT: _scale(price=(2, 8), volume=(5, 8), quote=(7, 8)),
    Market.UM: _scale(price=(2, 2), volume=(3, 3), quote=(5, 5)),
    Market.CM: _scale(price=(1, 1), volume=(0, 0), quote=(8, 8)),
}


def write_row(scale: Scale, ticks: Ticks) -> Row:
    """Return the candle as the exchange's 12-item row."""
    open_ms, open_, high, low, close, volume, close_ms, quote, trades, taker_volume, taker_quote = ticks
    p, v, q = scale.price_unit, scale.volume_unit, scale.quote_unit
    o, h, l, c, volume_text, quote_text, taker_text, taker_quote_text = (  # noqa: E741
        scale.template
        % (
            open_ // p,
            open_ % p,
            high // p,
            high % p,
            low // p,
            low % p,
            close // p,
            close % p,
            volume // v,
            volume % v,
            quote // q,
            quote % q,
            taker_volume // v,
            taker_volume % v,
            taker_quote // q,
            taker_quote % q,
        )
    ).split(" ")
    return [open_ms, o, h, l, c, volume_text, close_ms, quote_text, trades, taker_text, taker_quote_text, "0"]


def scaled_text(text: str, numerator: int, denominator: int) -> str:
    """Return the decimal `text` times `numerator / denominator`, cut off to the same number of decimals."""
    whole, point, fraction = text.partition(".")
    digits = str(int(whole + fraction) * numerator // denominator).rjust(len(fraction) + 1, "0")
    return digits[: len(digits) - len(fraction)] + point + digits[len(digits) - len(fraction) :]


def units_of(text: str, decimals: int) -> int:
    """Return the decimal `text` in units of its `decimals`-th place: "0.25", 4 -> 2500.

    Raises ValueError where `text` has more decimals than that and they are not zero.
    """
    whole, _, fraction = text.partition(".")
    if fraction[decimals:].strip("0"):
        raise ValueError(f"{text} has more than {decimals} decimals")
    return int(whole + fraction[:decimals].ljust(decimals, "0"))


def units_text(units: int, decimals: int) -> str:
    """Return `units` of the `decimals`-th place as text with that many decimals."""
    digits = str(abs(units)).rjust(decimals + 1, "0")
    sign = "-" if units < 0 else ""
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else sign + digits
