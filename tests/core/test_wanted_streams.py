"""Which kinds of live data are wanted of which instruments."""

import pytest

from core.errors import ConfigurationError
from core.series import parse_series
from core.stream_kinds import StreamKind
from core.wanted import WantedSeries
from core.wanted_streams import parse_kinds, split_by_kind, with_levels

KLINE, TRADES, MARK = StreamKind.KLINE, StreamKind.AGG_TRADE, StreamKind.MARK_PRICE
MINUTE, HOUR = WantedSeries(parse_series("BTCUSDT")), WantedSeries(parse_series("BTCUSDT/1h"))
FUTURE = WantedSeries(parse_series("um:BTCUSDT"), streams=(TRADES, MARK))
GONE = WantedSeries(parse_series("ETHUSDT"), active=False)


def test_kinds_are_read_each_once() -> None:
    assert parse_kinds("kline, aggtrade,kline") == (KLINE, TRADES)
    for wrong in ("", "kline,", "klines", "KLINE", "kline aggtrade"):
        with pytest.raises(ValueError, match="kline, aggtrade, trade, ticker, mark_price, funding_rate"):
            parse_kinds(wrong)


def test_the_run_decides_before_the_list_and_the_list_before_the_settings() -> None:
    candles, others = split_by_kind([MINUTE, HOUR, FUTURE, GONE], None, (KLINE, TRADES))
    assert candles == [MINUTE, HOUR, GONE]
    assert list(map(str, others)) == ["BTCUSDT aggtrade", "um:BTCUSDT aggtrade", "um:BTCUSDT mark_price"]
    candles, others = split_by_kind([MINUTE, FUTURE], (TRADES,), (KLINE,))
    assert candles == []
    assert list(map(str, others)) == ["BTCUSDT aggtrade", "um:BTCUSDT aggtrade"]


def test_what_a_market_does_not_have_is_refused_with_what_it_has() -> None:
    with pytest.raises(ConfigurationError, match="um:BTCUSDT/1m: market um offers no trade; there are kline, "):
        split_by_kind([FUTURE], (StreamKind.TRADE,), (KLINE,))
    with pytest.raises(ConfigurationError, match="market spot offers no mark_price; there are .*trade"):
        split_by_kind([MINUTE], None, (MARK,))


def test_order_books_have_levels_and_only_so_many_as_there_are_streams_of() -> None:
    _, keys = split_by_kind([MINUTE], (TRADES, StreamKind.DEPTH), (KLINE,))
    assert [key.levels for key in with_levels(keys, 10)] == [None, 10]
    with pytest.raises(ConfigurationError, match=r"no stream of 7 levels .* 5, 10, 20 .* depth_full"):
        with_levels(keys, 7)
    _, whole = split_by_kind([MINUTE], (StreamKind.DEPTH_FULL,), (KLINE,))
    assert [key.levels for key in with_levels(whole, 7)] == [7]
    for wrong in (0, 501):
        with pytest.raises(ConfigurationError, match=f"from 1 to 500, not {wrong}"):
            with_levels(whole, wrong)
    with pytest.raises(ConfigurationError, match="BTCUSDT: depth and depth_full"):
        with_levels([*keys, *whole], 10)
