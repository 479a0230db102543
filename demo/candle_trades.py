"""The trades of a candle: made up, the same each time, and adding up to the candle exactly.

On spot and USD-M first and last price, high, low, number, volume, quote volume and what takers bought are
those of the candle. COIN-M counts contracts and its quote volume is in the base asset, rounded trade by
trade, so that alone is only nearly met. So it is for a candle that no trades of whole lots can have made,
and for one of fewer than ten trades where no exact answer is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from random import Random

from core.instrument import Market
from demo.candle_path import price_at, price_path, price_step, trade_ms
from demo.candle_rows import Row
from demo.decimal_text import units_of
from demo.trade_ids import aggregates_of, is_double

_QUANTITIES = (5, 9)  # volume, and what takers bought of it
_QUOTES = (7, 10)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate trade of a candle: one order of a taker, filled by one or two trades at one price."""

    at_ms: int
    price: int  # in units of the candle's price decimals
    quantities: tuple[int, ...]  # of each trade, in units of the candle's volume decimals
    first_number: int  # of its first trade in the candle, from 0
    is_buyer_maker: bool


@dataclass(frozen=True, slots=True)
class CandleTrades:
    """The aggregate trades of a candle in order, and how many decimals their numbers have."""

    aggregates: tuple[Aggregate, ...]
    price_decimals: int
    quantity_decimals: int


Solution = tuple[list[int], list[int], list[bool]]
"""Price (in steps), size (in lots) and side (sold by the taker?) of each aggregate trade."""


@dataclass(frozen=True, slots=True)
class _Side:
    """What the trades of one side have to add up to, in lots, and in price steps times lots."""

    lots: int
    value: int


@dataclass(frozen=True, slots=True)
class _Sums:
    """A candle in whole price steps and lots."""

    corners: list[int]  # open, the extremes in the order in which the price meets them, close
    sold: _Side
    bought: _Side
    price_step: int
    lot: int


def trades_of(market: Market, row: Row, end_ms: int) -> CandleTrades:
    """Return the trades of the candle `row`, which ends at `end_ms` (exclusive)."""
    corners, price_decimals = price_path(row)
    quantity_decimals = max(len(row[position].partition(".")[2]) for position in _QUANTITIES)
    if not row[8]:
        return CandleTrades((), price_decimals, quantity_decimals)
    sums = _sums(market, row, corners, (price_decimals, quantity_decimals))
    prices, lots, sold = _solve(sums, row[8], Random(f"{row}"))
    aggregates, number = [], 0
    for place, (price, count, is_sold) in enumerate(zip(prices, lots, sold, strict=True)):
        parts = [count // 2, count - count // 2] if is_double(place, row[8]) else [count]
        quantities = tuple(part * sums.lot for part in parts)
        at_ms = trade_ms(row, end_ms, number)
        aggregates.append(Aggregate(at_ms, price * sums.price_step, quantities, number, is_sold))
        number += len(parts)
    return CandleTrades(tuple(aggregates), price_decimals, quantity_decimals)


def _sums(market: Market, row: Row, corners: list[int], decimals: tuple[int, int]) -> _Sums:
    """Return what the trades add up to, in the coarsest steps and lots that the candle can be made of."""
    volume, bought = (units_of(row[position], decimals[1]) for position in _QUANTITIES)
    step, lot = price_step(corners), price_step([volume, bought])
    if market is Market.CM:
        mean = sum(corners) // (4 * step)
        values = [mean * (volume // lot) + sum(corners) // step - 4 * mean, mean * (bought // lot)]
    else:
        exact = [units_of(row[position], sum(decimals)) for position in _QUOTES]
        while lot > 1 and (volume // lot < 2 * row[8] or any(value % (step * lot) for value in exact)):
            lot //= 10
        while step > 1 and any(value % (step * lot) for value in exact):
            step //= 10
        values = [value // (step * lot) for value in exact]
    buys = _Side(bought // lot, values[1])
    sells = _Side(volume // lot - buys.lots, values[0] - buys.value)
    return _Sums([corner // step for corner in corners], sells, buys, step, lot)


def _solve(sums: _Sums, trades: int, random: Random) -> Solution:
    """Return trades that add up to `sums`."""
    count = aggregates_of(trades)
    least = [2 if is_double(place, trades) else 1 for place in range(count)]
    fixed = _fixed_prices(sums.corners, count)
    for sides in product((True, False), repeat=len(fixed)):
        sold = dict(zip(fixed, sides, strict=True))
        solution = _with_sides(sums, least, fixed, sold, random)
        if solution is not None:
            return solution
    return _nearly(sums, least, fixed)


def _fixed_prices(corners: list[int], count: int) -> dict[int, int]:
    """Return the places whose price the candle says: first, last, and those of the extremes."""
    fixed = {0: corners[0], count - 1: corners[-1]}
    inner = [price for price in corners[1:3] if price not in (corners[0], corners[-1])]
    for number, price in enumerate(inner, start=1):
        place = count * number // (len(inner) + 1)
        while place in fixed and place < count - 1:
            place += 1
        fixed.setdefault(place, price)
    return fixed


def _with_sides(
    sums: _Sums, least: list[int], fixed: dict[int, int], sold: dict[int, bool], random: Random
) -> Solution | None:
    """Return a solution in which the fixed places are on these sides, or None."""
    prices, lots = [0] * len(least), list(least)
    for place, price in fixed.items():
        prices[place] = price
    rest = {
        is_sold: _Side(
            side.lots - sum(least[place] for place in fixed if sold[place] is is_sold),
            side.value - sum(least[place] * fixed[place] for place in fixed if sold[place] is is_sold),
        )
        for is_sold, side in ((True, sums.sold), (False, sums.bought))
    }
    free = [place for place in range(len(least)) if place not in fixed]
    bought = set(random.sample(free, _bought_places(len(free), rest[False].lots, rest[True].lots)))
    sides = [sold.get(place, place not in bought) for place in range(len(least))]
    for is_sold, side in rest.items():
        own = [place for place in free if sides[place] is is_sold]
        filled = _fill(side, own, [least[place] for place in own], (min(sums.corners), max(sums.corners)), random)
        if filled is None:
            return None
        for place, (price, count) in zip(own, _along_the_path(sums.corners, own, least, filled), strict=True):
            prices[place], lots[place] = price, count
    return prices, lots, sides


def _along_the_path(
    corners: list[int], places: list[int], least: list[int], filled: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the same prices and lots in another order, in which they follow the candle's price."""
    ordered = dict(zip(places, filled, strict=True))
    for size in (1, 2):
        alike = [place for place in places if least[place] == size]
        lowest_first = sorted(alike, key=lambda place: price_at(corners, place, len(least)))
        ordered |= zip(lowest_first, sorted(ordered[place] for place in alike), strict=True)
    return [ordered[place] for place in places]


def _bought_places(free: int, bought: int, sold: int) -> int:
    """Return how many of the `free` places are taker buys, in proportion to the lots that are left for both."""
    if bought <= 0 or sold <= 0:
        return free if sold <= 0 < bought else 0
    wanted = free * bought // (bought + sold)
    some = 2 if free > 3 else 1
    wanted = max(some, min(free - some, wanted))
    return max(0, min(free, wanted, max(1, bought // 2)))


def _fill(
    side: _Side, places: list[int], least: list[int], bounds: tuple[int, int], random: Random
) -> list[tuple[int, int]] | None:
    """Return price and lots of each place, so that they add up to `side`; None where that cannot be."""
    if not places:
        return [] if side == _Side(0, 0) else None
    if side.lots < sum(least) or not bounds[0] * side.lots <= side.value <= bounds[1] * side.lots:
        return None
    price, over = divmod(side.value, side.lots)
    if not over:
        return _spread(side.lots, price, least, bounds, random)
    # One place takes what is left over at the next price; or all the others do.
    alone = least.index(min(least))
    others = least[:alone] + least[alone + 1 :]
    for lots, own_price, price_of_others in ((over, price + 1, price), (side.lots - over, price, price + 1)):
        if lots >= least[alone] and others:
            spread = _spread(side.lots - lots, price_of_others, others, bounds, random)
            if spread is not None:
                return [*spread[:alone], (own_price, lots), *spread[alone:]]
    return None


def _spread(
    lots: int, price: int, least: list[int], bounds: tuple[int, int], random: Random
) -> list[tuple[int, int]] | None:
    """Return price and lots of each place, `lots` in sum and `price` on average: two by two above and below it."""
    each, over = divmod(lots, len(least))
    if each < max(least):
        return None
    reach = min(bounds[1] - price, price - bounds[0])
    spread = [(price, each)] * len(least)
    for place in range(0, len(least) - 1, 2):
        away = random.randint(-reach, reach)
        spread[place : place + 2] = [(price + away, each), (price - away, each)]
    for place in range(0, len(least) - 3, 4):
        moved = random.randint(0, each - max(least))
        for giver, taker in ((place, place + 2), (place + 1, place + 3)):
            spread[giver] = spread[giver][0], each - moved
            spread[taker] = spread[taker][0], each + moved
    # What cannot be shared out evenly comes on top, at the average price itself.
    if over and len(least) % 2 == 0:
        spread[-2:] = [(price, spread[-2][1]), (price, spread[-1][1])]
    spread[-1] = spread[-1][0], spread[-1][1] + over
    return spread


def _nearly(sums: _Sums, least: list[int], fixed: dict[int, int]) -> Solution:
    """Return prices and lots that miss the quote volume by a little."""
    count, total = len(least), sums.sold.lots + sums.bought.lots
    bought = min(count, max(int(sums.bought.lots > 0), count * sums.bought.lots // max(1, total)))
    bought -= int(bought == count and sums.sold.lots > 0 and count > 1)
    sides = [place >= bought for place in range(count)]
    low, high = min(sums.corners), max(sums.corners)
    average = (sums.sold.value + sums.bought.value) // max(1, total)
    prices = [fixed.get(place, min(max(average, low), high)) for place in range(count)]
    lots: list[int] = []
    for side, number in ((sums.bought, bought), (sums.sold, count - bought)):
        if number:
            each, over = divmod(side.lots, number)
            lots += [each] * (number - 1) + [each + over]
    return prices, lots, sides
