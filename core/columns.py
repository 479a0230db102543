"""The columns of a candle: the one list from which batches, tables, COPY, the content hash and SQL are derived."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pyarrow as pa


class ColumnKind(Enum):
    """The type of a column, in Arrow and in PostgreSQL."""

    TIME = (pa.int64(), "timestamp with time zone")  # epoch ms in memory
    DECIMAL = (pa.string(), "numeric")  # the exchange's own digits, never a float
    COUNT = (pa.int64(), "integer")

    @property
    def arrow_type(self) -> pa.DataType:
        """The type in a batch."""
        return self.value[0]

    @property
    def sql_type(self) -> str:
        """The type in a table, as PostgreSQL's format_type writes it."""
        return str(self.value[1])


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a candle."""

    name: str
    kind: ColumnKind

    @property
    def sql_name(self) -> str:
        """The name in tables, where the open time is called `time`."""
        return "time" if self.kind is ColumnKind.TIME else self.name


CANDLE_COLUMNS = (
    Column("open_time", ColumnKind.TIME),
    Column("open", ColumnKind.DECIMAL),
    Column("high", ColumnKind.DECIMAL),
    Column("low", ColumnKind.DECIMAL),
    Column("close", ColumnKind.DECIMAL),
    Column("volume", ColumnKind.DECIMAL),
    Column("quote_volume", ColumnKind.DECIMAL),
    Column("trades", ColumnKind.COUNT),
    Column("taker_buy_volume", ColumnKind.DECIMAL),
    Column("taker_buy_quote_volume", ColumnKind.DECIMAL),
)
"""The order is that of tables, COPY and the content hash. A new column goes to the end and needs a migration."""

SCHEMA = pa.schema([(column.name, column.kind.arrow_type) for column in CANDLE_COLUMNS])
VALUE_COLUMNS = CANDLE_COLUMNS[1:]
"""All columns but the open time, which is the key."""
DECIMAL_COLUMNS = tuple(column.name for column in CANDLE_COLUMNS if column.kind is ColumnKind.DECIMAL)
TABLE_COLUMNS = tuple(column.sql_name for column in CANDLE_COLUMNS)
VALUE_NAMES = TABLE_COLUMNS[1:]
