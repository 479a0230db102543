from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pyarrow as pa
import pytest
from candles import validate

from core.binance.row import ROW_POSITIONS
from core.candles import CandleBatch, missing_spans
from core.columns import SCHEMA
from core.instrument import Market
from core.intervals import INTERVALS
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_DAY, MS_PER_MINUTE, parse_time
from demo.candle_rows import Row
from demo.candle_store import CandleStore
from demo.generated_market import DEFAULT_SPAN, generate_market, generate_series
from demo.market_facts import MarketFacts, market_facts
from demo.sessions import OFF_GRID_SHIFT_MS

DAY = Span(parse_time("2023-05-01"), parse_time("2023-05-02"))


@pytest.fixture(scope="module")
def facts() -> MarketFacts:
    return market_facts(DEFAULT_SPAN.start_ms, DEFAULT_SPAN.end_ms)


def batch_of(rows: list[Row]) -> CandleBatch:
    columns = [[row[ROW_POSITIONS[name]] for row in rows] for name in SCHEMA.names]
    return CandleBatch(pa.table(columns, schema=SCHEMA))


def test_every_generated_candle_is_fit_to_be_stored(market: CandleStore) -> None:
    for series in market.series():
        validate(batch_of(market.rows(series)))


def test_no_more_is_bought_by_takers_than_is_traded(market: CandleStore) -> None:
    for row in market.rows(parse_series("um:BTCUSDT/1h")):
        assert Decimal(row[9]) <= Decimal(row[5])
        assert Decimal(row[10]) <= Decimal(row[7])
        assert Decimal(row[3]) * Decimal(row[5]) <= Decimal(row[7]) <= Decimal(row[2]) * Decimal(row[5])


# Of what takes seconds for each, one of every kind is in the suite; the others are in the long runs.
IN_THE_SUITE = {("BTCUSDT", "1h"), ("um:BTCUSDT", "1w"), ("cm:BTCUSD_PERP", "1M")}


@pytest.mark.parametrize("code", list(INTERVALS))
def test_any_interval_can_be_generated_on_its_grid(code: str) -> None:
    series = parse_series(f"BTCUSDT/{code}")
    days = {"1s": 1, "1m": 10}.get(code, 100)
    span = Span(DAY.start_ms, DAY.start_ms + days * MS_PER_DAY)
    rows = list(generate_series(series, span))
    assert len(rows) == series.interval.count(span.start_ms, span.end_ms)
    assert missing_spans([row[0] for row in rows], series.interval, span) == []
    assert all(row[6] == series.interval.add(row[0], 1) - 1 for row in rows)
    validate(batch_of(rows))


@pytest.mark.parametrize(
    ("notation", "price", "volume", "quote"),
    [("BTCUSDT", 8, 8, 8), ("um:BTCUSDT", 2, 3, 5), ("cm:BTCUSD_PERP", 1, None, 8)],
)
def test_numbers_are_written_as_the_market_writes_them(
    notation: str, price: int, volume: int | None, quote: int
) -> None:
    for row in generate_series(parse_series(notation), DAY):
        assert [len(row[position].partition(".")[2]) for position in (1, 2, 3, 4)] == [price] * 4
        for position in (5, 9):
            assert row[position].isdigit() if volume is None else len(row[position].partition(".")[2]) == volume
        assert [len(row[position].partition(".")[2]) for position in (7, 10)] == [quote] * 2


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    series = parse_series("BTCUSDT")
    rows = list(generate_series(series, DAY, seed=3))
    assert rows == list(generate_series(series, DAY, seed=3))
    assert rows != list(generate_series(series, DAY, seed=4))
    # Written down: the rows do not depend on the run or the machine either.
    assert rows[1] == [
        1682899260000,
        "30004.69000000",
        "30011.01000000",
        "29988.82000000",
        "29992.08000000",
        "2.46016000",
        1682899319999,
        "73802.70886400",
        716,
        "0.01922000",
        "576.58366300",
        "0",
    ]


def test_the_same_seed_gives_the_same_market() -> None:
    end_ms = DAY.start_ms + 8 * MS_PER_DAY
    first, second = (generate_market(DAY.start_ms, end_ms, seed=5) for _ in range(2))
    assert first.series() == second.series()
    assert all(first.json_rows(series) == second.json_rows(series) for series in first.series())


def test_a_range_that_is_too_short_for_the_irregularities_is_refused() -> None:
    with pytest.raises(ValueError, match="seven days"):
        generate_market(DAY.start_ms, DAY.end_ms)


def test_a_halt_has_flat_candles_before_it_and_ends_the_last_one_early() -> None:
    halt = Span(DAY.start_ms + 600 * MS_PER_MINUTE, DAY.start_ms + 700 * MS_PER_MINUTE)
    rows = list(generate_series(parse_series("BTCUSDT"), DAY, quiet_share=0, halts=[halt]))
    before = [row for row in rows if row[0] < halt.start_ms]
    assert missing_spans([row[0] for row in rows], INTERVALS["1m"], DAY) == [halt]
    assert [row[8] for row in before[-12:]] == [0] * 12
    assert before[-13][8] > 0
    assert all(row[1] == row[2] == row[3] == row[4] == before[-13][4] for row in before[-12:])
    assert before[-1][6] < before[-1][0] + MS_PER_MINUTE - 1
    assert rows[len(before)][6] == rows[len(before)][0] + MS_PER_MINUTE - 1


def test_the_quiet_share_has_no_trades() -> None:
    rows = list(generate_series(parse_series("BTCUSDT"), DAY, quiet_share=0.5))
    quiet = [row for row in rows if row[8] == 0]
    assert 600 < len(quiet) < 840
    assert all(Decimal(row[5]) == Decimal(row[7]) == 0 and row[1] == row[2] == row[3] == row[4] for row in quiet)


def test_all_spot_minutes_are_there_except_for_the_halts(market: CandleStore, facts: MarketFacts) -> None:
    plan = facts.symbol(Market.SPOT, "BTCUSDT")
    missing = missing_spans(
        market.open_times(parse_series("BTCUSDT")), INTERVALS["1m"], Span(plan.listing_ms, plan.end_ms)
    )
    assert missing == list(facts.spot_halts)
    assert market.open_times(parse_series("BTCUSDT"))[0] == plan.listing_ms


def test_futures_trade_on_while_spot_is_halted(market: CandleStore, facts: MarketFacts) -> None:
    times = market.open_times(parse_series("um:BTCUSDT"))
    assert len(times) == (DEFAULT_SPAN.end_ms - DEFAULT_SPAN.start_ms) // MS_PER_MINUTE
    assert all(later - earlier == MS_PER_MINUTE for earlier, later in pairwise(times))


def test_one_stretch_is_off_the_grid(market: CandleStore, facts: MarketFacts) -> None:
    times = market.open_times(parse_series("ETHUSDT"))
    off = [ms for ms in times if ms % MS_PER_MINUTE]
    assert {ms % MS_PER_MINUTE for ms in off} == {OFF_GRID_SHIFT_MS}
    assert facts.off_grid.start_ms <= off[0] and off[-1] < facts.off_grid.end_ms
    assert len(off) > 200


def test_one_symbol_is_listed_in_mid_day_and_one_is_delisted(market: CandleStore, facts: MarketFacts) -> None:
    listed = facts.symbol(Market.SPOT, "ETHUSDT")
    assert listed.listing_ms % MS_PER_DAY != 0
    assert market.open_times(parse_series("ETHUSDT"))[0] == listed.listing_ms
    delisted = facts.symbol(Market.SPOT, "BCCUSDT")
    assert delisted.is_delisted and market.facts(Market.SPOT, "BCCUSDT").status == "BREAK"
    assert market.open_times(parse_series("BCCUSDT"))[-1] == delisted.end_ms - MS_PER_MINUTE < DEFAULT_SPAN.end_ms


@pytest.mark.parametrize(
    ("notation", "code"),
    [
        pytest.param(notation, code, marks=() if (notation, code) in IN_THE_SUITE else pytest.mark.long)
        for notation in ("BTCUSDT", "um:BTCUSDT", "cm:BTCUSD_PERP")
        for code in ("5m", "1h", "1d", "1w", "1M")
    ],
)
def test_longer_candles_are_the_sum_of_their_minutes(market: CandleStore, notation: str, code: str) -> None:
    interval = INTERVALS[code]
    longer = {row[0]: row for row in market.rows(parse_series(f"{notation}/{code}"))}
    minutes: dict[int, list[Row]] = {}
    for row in market.rows(parse_series(notation)):
        minutes.setdefault(interval.floor(row[0]), []).append(row)
    assert longer.keys() == minutes.keys()
    for open_ms, parts in minutes.items():
        row = longer[open_ms]
        assert (row[1], row[4]) == (parts[0][1], parts[-1][4])
        assert Decimal(row[2]) == max(Decimal(part[2]) for part in parts)
        assert Decimal(row[3]) == min(Decimal(part[3]) for part in parts)
        assert row[8] == sum(part[8] for part in parts)
        for position in (5, 7, 9, 10):
            assert Decimal(row[position]) == sum(Decimal(part[position]) for part in parts)


def test_a_long_candle_that_a_halt_cuts_closes_with_its_last_minute(market: CandleStore, facts: MarketFacts) -> None:
    halt = facts.spot_halts[0]
    hour = INTERVALS["1h"].floor(halt.start_ms)
    cut = market.rows(parse_series("BTCUSDT/1h"), hour, hour + 1)[0]
    last_minute = market.rows(parse_series("BTCUSDT"), hour, halt.start_ms)[-1]
    assert cut[6] == last_minute[6] < halt.start_ms - 1
