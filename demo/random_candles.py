"""Made-up candles in whole numbers: a random walk that stays near its first price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from core.instrument import Market
from demo.decimal_text import SCALES, Ticks
from demo.sessions import Slot

_CONTRACT_VALUE = 100  # quote currency per COIN-M contract
# So few trades, or smaller volumes, could not have made the candle.
_TOO_FEW_TRADES = 6
_ENOUGH_TRADES = 10
_LEAST_LOTS_OF_A_TRADE = 4


def random_candles(
    market: Market, slots: Iterable[Slot], random: Random, price: int, quiet_share: float
) -> Iterator[Ticks]:
    """Yield one candle per slot. `price` is in whole quote units; `quiet_share` of the candles have no trade.

    Every candle opens at the close of the one before, as candles without a trade between them do. A
    candle with trades can have been made by so many trades in whole lots.
    """
    scale = SCALES[market]
    base = last = price * scale.price_unit
    coin_quote = _CONTRACT_VALUE * scale.price_unit * scale.quote_unit if market is Market.CM else 0
    quiet_below = int(quiet_share * 65_536)
    draw = random.getrandbits
    for slot in slots:
        bits = draw(96)
        if slot.is_flat or bits & 65_535 < quiet_below:
            yield slot.open_ms, last, last, last, last, 0, slot.close_ms, 0, 0, 0, 0
            continue
        # Each byte decides one thing. Two of them add up to a move of at most 0.1 %, pulled back to the base.
        move = (bits >> 16 & 255) + (bits >> 24 & 255) - 255
        close = last + (last * move >> 18) + (base - last >> 12)
        high = max(last, close) + (last * (bits >> 32 & 255) >> 20)
        low = min(last, close) - (last * (bits >> 40 & 255) >> 20)
        trades = 1 + (bits >> 80 & 1023)
        if trades <= _TOO_FEW_TRADES:
            trades = _ENOUGH_TRADES
        volume = max(_LEAST_LOTS_OF_A_TRADE * trades, 1 + (bits >> 48 & 65_535) * (bits >> 64 & 255) // 8)
        taker_volume = volume * (bits >> 72 & 255) >> 8
        mean = high + low + last + close >> 2
        if coin_quote:
            quote, taker_quote = volume * coin_quote // mean, taker_volume * coin_quote // mean
        else:
            quote, taker_quote = volume * mean, taker_volume * mean
        yield slot.open_ms, last, high, low, close, volume, slot.close_ms, quote, trades, taker_volume, taker_quote
        last = close
