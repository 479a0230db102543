"""The table of a running stream, with one, five and three hundred streams, on terminals of 80 and 120 columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from commands.live_screen import live_table
from core.series import parse_series
from core.stream_activity import StreamState
from core.streams import StreamKey
from core.times import parse_time
from logic.live.stream_states import StreamRecord

LIVE = StreamRecord(StreamState.LIVE, closed_ms=parse_time("2024-11-11T10:01"), price="68500.12345678", cuts=1)


def lines_of(count: int, width: int, most_rows: int) -> list[str]:
    records = {StreamKey.candles_of(parse_series(f"um:S{number:03}USDT")): LIVE for number in range(count)}
    records[StreamKey.candles_of(parse_series("um:SILENTUSDT"))] = StreamRecord(StreamState.SILENT, "nothing came")
    console = Console(file=io.StringIO(), width=width, highlight=False)
    with console.capture() as captured:
        console.print(live_table("headline", records, width, most_rows))
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("count", [1, 5, 300])
def test_what_is_wrong_comes_first_and_the_table_fits(count: int, width: int) -> None:
    lines = lines_of(count, width, 20)
    assert lines[0] == "headline"
    assert lines[3].startswith("um:SILENTUSDT kline 1m") and "silent" in lines[3]
    assert all(len(line) <= width for line in lines)
    assert len(lines) == 3 + min(count + 1, 20) + (count > 20)
    if count > 20:
        assert lines[-1] == f"... and {count + 1 - 20} streams more; monitor shows them all"
