"""What typical wishes cost, by the program's own dry run: writes the table in docs/costs.md.

    python benchmarks/costs.py

A replay exchange lists the symbols at their listing dates and publishes their archive files; it needs no candles
but one a day, because a dry run reads which files there are and fetches none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import PROJECT, own_folder, program_environment, run_program

from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_DAY, parse_time
from db.embedded import EmbeddedServer
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.server import ReplayExchange

PAGE = PROJECT / "docs" / "costs.md"
BEGIN, END = "<!-- the table is written by benchmarks/costs.py -->\n", "<!-- end of the table -->\n"

NOW, END_OF_ALL = "2026-11-01T00:10", "2026-11-01"
FUTURES_ARCHIVES_BEGIN = "2020-01-01"
# Measured, see docs/storage.md.
BYTES_PLAIN, BYTES_COMPRESSED = 140, 60

# 20 symbols that are older than the year that is wanted of them; 400 pairs, listed one after the other since 2020.
_TWENTY = [f"SYM{number:02}BTC" for number in range(20)]
_PAIRS = [f"SYM{number:03}USDT" for number in range(400)]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody may want, and the options that ask for it."""

    text: str
    options: tuple[str, ...]


WISHES = (
    Wish("BTCUSDT 1d, whole history", ("--symbols", "BTCUSDT/1d")),
    Wish("BTCUSDT 1h, whole history", ("--symbols", "BTCUSDT/1h")),
    Wish("BTCUSDT 1m, whole history", ("--symbols", "BTCUSDT/1m")),
    Wish("the same by REST alone", ("--symbols", "BTCUSDT/1m", "--source", "rest")),
    Wish("BTCUSDT and ETHUSDT 1m, whole history", ("--symbols", "BTCUSDT/1m", "ETHUSDT/1m")),
    Wish("USD-M BTCUSDT 1m, whole history", ("--symbols", "um:BTCUSDT/1m")),
    Wish("COIN-M BTCUSD_PERP 1h, whole history", ("--symbols", "cm:BTCUSD_PERP/1h")),
    Wish("BTCUSDT 1s, one month", ("--symbols", "BTCUSDT/1s", "--start", "2026-10-01")),
    Wish("20 symbols 1m, one year", ("--symbols", *_TWENTY, "--start", "2025-11-01")),
    Wish("400 USDT pairs 1d, whole history", ("--symbols", "SYM*USDT/1d")),
)


def main() -> int:
    """Write the table and return the exit code."""
    clock = ReplayClock(parse_time(NOW))
    with own_folder() as folder, ReplayExchange(_market(clock.now_ms()), clock) as exchange:
        environment = program_environment(folder, EmbeddedServer(folder / "pgdata"), exchange)
        lines = [_line(wish, _plan(environment, wish)) for wish in WISHES]
    head = (
        "| wish | candles | archive files | requests | in PostgreSQL | compressed | estimate |\n"
        "|---|---:|---:|---:|---:|---:|---:|\n"
    )
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}{head}{''.join(lines)}{END}{after}", encoding="utf-8")
    return 0


def _plan(environment: dict[str, str], wish: Wish) -> dict[str, object]:
    document, _, _ = run_program(environment, "--dry-run", "--end", END_OF_ALL, *wish.options)
    return document


def _line(wish: Wish, plan: dict[str, object]) -> str:
    rows, seconds, chunks = plan["expected_rows"], plan["seconds"], plan["chunks_by_source"]
    assert isinstance(rows, int) and isinstance(seconds, float) and isinstance(chunks, dict)  # noqa: S101
    files = sum(count for source, count in chunks.items() if source != "rest")
    plain, compressed = (_size(rows * each) for each in (BYTES_PLAIN, BYTES_COMPRESSED))
    took = f"{max(1.0, seconds):,.0f} s" if seconds < 90 else f"{seconds / 60:,.0f} min"
    return f"| {wish.text} | {rows:,} | {files:,} | {plan['requests']:,} | {plain} | {compressed} | {took} |\n"


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _market(now_ms: int) -> CandleStore:
    """Return the symbols with a candle a day, from their listing to now."""
    store = CandleStore()
    for series, listed in _listings():
        start_ms = series.interval.floor(parse_time(listed))
        first_day_ms = (start_ms // MS_PER_DAY + 1) * MS_PER_DAY
        store.add(series, [_candle(ms) for ms in (start_ms, *range(first_day_ms, now_ms, MS_PER_DAY))])
        if series.market != "spot":
            store.limit_archives(series, [Span(parse_time(FUTURES_ARCHIVES_BEGIN), now_ms)])
    return store


def _listings() -> Iterator[tuple[Series, str]]:
    for interval in ("1s", "1m", "1h", "1d"):
        yield parse_series(f"BTCUSDT/{interval}"), "2017-08-17T04:00"
    yield parse_series("ETHUSDT/1m"), "2017-08-17T04:00"
    yield parse_series("um:BTCUSDT/1m"), "2019-09-08T17:57"
    yield parse_series("cm:BTCUSD_PERP/1h"), "2020-08-11T06:00"
    for symbol in _TWENTY:
        yield parse_series(f"{symbol}/1m"), "2020-01-01"
    for number, symbol in enumerate(_PAIRS):
        yield parse_series(f"{symbol}/1d"), f"{2020 + number // 60}-{number % 60 // 5 + 1:02}-01"


def _candle(open_ms: int) -> list[object]:
    return [open_ms, "1", "1", "1", "1", "0", open_ms + 59_999, "0", 0, "0", "0", "0"]


if __name__ == "__main__":
    sys.exit(main())
