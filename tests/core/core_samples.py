"""Real candles of BTCUSDT 1h (spot, 2024-01-15, by REST) and ways to make batches of them."""

from __future__ import annotations

import pyarrow as pa

from core.candles import CandleBatch
from core.columns import SCHEMA
from core.times import MS_PER_HOUR

Row = dict[str, object]

FIRST_HOUR = 1705276800000  # 2024-01-15

_REAL_ROWS = (
    "41732.35000000 42353.94000000 41718.05000000 42279.75000000 2433.52283000"
    " 102456168.22559890 66725 1348.93805000 56779695.64663060",
    "42279.76000000 42398.73000000 42176.28000000 42275.18000000 1404.64040000"
    " 59385685.45220240 47611 821.97918000 34749537.50398190",
    "42275.17000000 42411.62000000 42194.12000000 42399.72000000 850.09544000"
    " 35959618.58508060 36777 482.46314000 20408786.56099110",
)


def real_rows() -> list[Row]:
    """Return three neighbouring real candles."""
    return [_row(FIRST_HOUR + number * MS_PER_HOUR, text) for number, text in enumerate(_REAL_ROWS)]


def row(open_time: int = FIRST_HOUR, **changes: object) -> Row:
    """Return one real candle at `open_time` with some values changed."""
    return {**_row(open_time, _REAL_ROWS[0]), **changes}


def batch(*rows: Row) -> CandleBatch:
    return CandleBatch(pa.Table.from_pylist(list(rows), schema=SCHEMA))


def batch_at(*open_times: int) -> CandleBatch:
    return batch(*(row(open_time) for open_time in open_times))


def _row(open_time: int, text: str) -> Row:
    values: list[object] = [open_time, *text.split()]
    values[SCHEMA.names.index("trades")] = int(text.split()[6])
    return dict(zip(SCHEMA.names, values, strict=True))
