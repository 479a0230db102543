"""Makes coverage.svg, the picture in the README, from what a backfill really stored.

    python docs/pictures/make.py

Runs `backfill` against a local replay exchange whose generated market ends now, then draws two tables of the database:
the ledger (which span came from where) and the gaps. Nothing of it is written by hand. Needs no internet.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from config.settings import SETTINGS  # noqa: E402
from core.times import MS_PER_DAY  # noqa: E402
from db.embedded import EmbeddedServer  # noqa: E402
from demo.clock import ReplayClock  # noqa: E402
from demo.generated_market import generate_market  # noqa: E402
from demo.server import ReplayExchange  # noqa: E402

PICTURE = PROJECT / "docs" / "pictures" / "coverage.svg"
SEED, DAYS = 7, 100
SYMBOLS = """\
symbols: [BTCUSDT, BTCUSDT/1h, ETHUSDT, BCCUSDT, "um:BTCUSDT/5m", "cm:BTCUSD_PERP/1h"]
"""
QUERY = """
    select market, symbol, "interval", span_start, span_end, source, rows from {table}
    join public.ohlcv_series on ohlcv_series.id = series_id order by series_id, span_start
"""
LEDGER = QUERY.format(table="public.ohlcv_ledger")
GAPS = QUERY.format(
    table="(select series_id, gap_start as span_start, gap_end as span_end, 0 as rows,"
    " case status when 'missing' then 'missing' else 'not_at_exchange' end as source"
    " from public.ohlcv_gaps where status <> 'healed') as gaps"
)

# Pixels.
WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 880, 168, 162, 74, 34, 18
KINDS = {
    "archive-monthly": ("monthly archive", "#3b82c4"),
    "archive-daily": ("daily archive", "#7fb3dd"),
    "rest": ("REST", "#2fa37c"),
    "not_at_exchange": ("not at the exchange, with proof", "#e0862e"),
    "missing": ("missing", "#d0342c"),
}
STYLE = """
  text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328; }
  .title { font-weight: bold; font-size: 15px; }
  .small { font-size: 12px; fill: #59636e; }
  .card { fill: #ffffff; stroke: #d1d9e0; }
  .empty { fill: #eff2f5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .small { fill: #9198a1; }
    .card { fill: #0d1117; stroke: #3d444d; }
    .empty { fill: #212830; }
  }
"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A span of one series: where its candles came from, or the status of a gap."""

    series: str
    start: datetime
    end: datetime
    kind: str
    rows: int


def main() -> int:
    """Make the picture and return the exit code."""
    now_ms = int(time.time() * 1000)
    start_ms = now_ms // MS_PER_DAY * MS_PER_DAY - DAYS * MS_PER_DAY
    market = generate_market(start_ms, now_ms, SEED)
    with tempfile.TemporaryDirectory(prefix="ohlcv-picture-") as folder:
        server = EmbeddedServer(Path(folder) / "pgdata")
        with ReplayExchange(market, ReplayClock(now_ms)) as exchange:
            try:
                command = [sys.executable, str(PROJECT / "ohlcv_data_fetcher.py"), "--quiet"]
                subprocess.run(command, env=_environment(Path(folder), exchange), check=True)  # noqa: S603
                stored, gaps = _read(server)
            finally:
                server.stop()
    PICTURE.write_text(draw(stored, gaps), encoding="utf-8")
    return 0


def _environment(folder: Path, exchange: ReplayExchange) -> dict[str, str]:
    (folder / "symbols.yml").write_text(SYMBOLS, encoding="utf-8")
    return {
        **os.environ,
        **{setting.name: "" for setting in SETTINGS},  # a .env of whoever draws changes nothing
        "EMBEDDED_PG_DIR": str(folder / "pgdata"),
        "STATE_DIR": str(folder / "state"),
        "LOG_DIR": str(folder / "logs"),
        "SYMBOLS_FILE": str(folder / "symbols.yml"),
        **dict.fromkeys(("BINANCE_API_URL", "BINANCE_UM_API_URL", "BINANCE_CM_API_URL"), exchange.url),
        "BINANCE_ARCHIVE_URL": exchange.archive_url,
        "BINANCE_ARCHIVE_LIST_URL": exchange.archive_list_url,
    }


def _read(server: EmbeddedServer) -> tuple[list[Stretch], list[Stretch]]:
    keywords: dict[str, Any] = dict(server.keywords())
    connection = psycopg2.connect(**keywords)
    try:
        with connection.cursor() as cursor:
            cursor.execute("set timezone = 'UTC'")
            cursor.execute(LEDGER)
            stored = [_stretch(row) for row in cursor.fetchall()]
            cursor.execute(GAPS)
            return stored, [_stretch(row) for row in cursor.fetchall()]
    finally:
        connection.close()


def _stretch(row: tuple[Any, ...]) -> Stretch:
    market, symbol, interval, *rest = row
    return Stretch(f"{'' if market == 'spot' else market + ':'}{symbol}/{interval}", *rest)


def draw(stored: Sequence[Stretch], gaps: Sequence[Stretch]) -> str:
    """Return an SVG with one bar a series, for light and dark pages."""
    names = sorted({one.series for one in stored}, key=lambda name: (":" in name, name))
    start, end = min(one.start for one in stored), max(one.end for one in stored)
    height = TOP + ROW * len(names) + 34

    def x(at: datetime) -> float:
        return LEFT + (at - start) / (end - start) * (WIDTH - LEFT - RIGHT)

    parts = [_text(20, 28, "Where each stored candle came from, and what the exchange itself does not have", "title")]
    parts += _legend({one.kind for one in [*stored, *gaps]})
    for number, name in enumerate(names):
        y = TOP + number * ROW
        mine, lacking = ([one for one in each if one.series == name] for each in (stored, gaps))
        parts.append(_text(20, y + 14, name))
        parts.append(_bar(x(start), x(end), y, 'class="empty"'))
        for one in [*_joined(mine), *lacking]:
            parts.append(_bar(x(one.start), max(x(one.end), x(one.start) + 1.5), y, f'fill="{KINDS[one.kind][1]}"'))
        told = f"{sum(one.rows for one in mine):,} candles"
        parts.append(_text(WIDTH - RIGHT + 16, y + 14, told))
    foot = TOP + ROW * len(names) + 14
    parts.append(_text(LEFT, foot, f"{start:%Y-%m-%d}", "small"))
    parts.append(_text(WIDTH - RIGHT - 72, foot, f"{end:%Y-%m-%d}", "small"))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>\n{body}\n</svg>\n'
    )


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Return neighbours of one kind as one."""
    joined: list[Stretch] = []
    for one in stretches:
        if joined and (joined[-1].end, joined[-1].kind) == (one.start, one.kind):
            one = Stretch(one.series, joined.pop().start, one.end, one.kind, 0)
        joined.append(one)
    return joined


def _legend(kinds: set[str]) -> list[str]:
    parts: list[str] = []
    x = 20
    for kind, (words, colour) in KINDS.items():
        if kind in kinds:
            parts += _legend_entry(x, f'fill="{colour}"', words)
            x += 39 + round(7.3 * len(words))
    return [*parts, *_legend_entry(x, 'class="empty"', "not listed")]


def _legend_entry(x: int, look: str, words: str) -> list[str]:
    return [f'<rect x="{x}" y="44" width="11" height="11" {look}/>', _text(x + 17, 54, words, "small")]


def _bar(x: float, end: float, y: int, look: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{end - x:.1f}" height="{BAR}" {look}/>'


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}"{f" class={kind!r}" if kind else ""}>{words}</text>'


if __name__ == "__main__":
    sys.exit(main())
