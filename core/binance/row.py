"""The row of 12 items that Binance sends for a candle, the same in REST and archives (docs/binance.md, Rows)."""

from __future__ import annotations

# Close time (6) and the last, unused item (11) are not stored.
ROW_POSITIONS = {
    "open_time": 0,
    "open": 1,
    "high": 2,
    "low": 3,
    "close": 4,
    "volume": 5,
    "quote_volume": 7,
    "trades": 8,
    "taker_buy_volume": 9,
    "taker_buy_quote_volume": 10,
}
ROW_LENGTH = 12
