"""A year of 1m candles of three series through the whole program: rows per second and peak memory, by source.

    python benchmarks/year.py [--recordings DIR] [--source auto|rest]

Serves one recorded year (spot BTCUSDT 2023, with --recordings) or a generated one, and two generated years, by the
replay exchange in this process; runs the entrypoint as a subprocess into the embedded database; compares every
stored row with the truth; runs it again to see that nothing is fetched twice. Prints one JSON line per run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from candles import stored_rows, truth_rows  # noqa: E402

from core.ranges import Span  # noqa: E402
from core.series import parse_series  # noqa: E402
from core.times import parse_time  # noqa: E402
from db.connection import Database  # noqa: E402
from db.embedded import EmbeddedServer  # noqa: E402
from demo.clock import ReplayClock  # noqa: E402
from demo.generated_market import generate_series  # noqa: E402
from demo.recordings import load_recordings  # noqa: E402
from demo.server import ReplayExchange  # noqa: E402
from demo.weights import WeightLimits  # noqa: E402

YEAR = Span(parse_time("2023-01-01"), parse_time("2024-01-01"))
SERIES = [parse_series(text) for text in ("BTCUSDT", "ETHUSDT", "um:SOLUSDT")]


def run_measured(command: list[str], environment: dict[str, str]) -> tuple[str, float]:
    """Return the program's output and the peak of its resident memory in MiB (Linux: VmHWM, looked at often)."""
    peak_kib = 0
    with subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    peak_kib = max(peak_kib, int(line.split()[1]))
            time.sleep(0.02)
        assert process.stdout is not None  # noqa: S101
        output = process.stdout.read()
    if process.returncode != 0:
        raise SystemExit(f"the program ended with {process.returncode}: {output}")
    return output, peak_kib / 1024


def time_psql_copy(server: EmbeddedServer, folder: Path) -> float:
    """Return the seconds that psql takes to \\copy the stored rows into equal, empty tables with their primary keys."""
    psql = server.psql_line() + " -X -q -v ON_ERROR_STOP=1"
    total = 0.0
    for series in SERIES:
        table, file = series.table_name, folder / "rows.csv"
        before = f"\\copy {table} to '{file}' csv\ncreate table copied (like {table} including all);"
        subprocess.run(psql, shell=True, input=before, text=True, check=True)  # noqa: S602
        began = time.monotonic()
        subprocess.run(psql, shell=True, input=f"\\copy copied from '{file}' csv", text=True, check=True)  # noqa: S602
        total += time.monotonic() - began
        subprocess.run(psql, shell=True, input="drop table copied", text=True, check=True)  # noqa: S602
    return total


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--source", default="auto")
    arguments = parser.parse_args()
    if arguments.recordings:
        store = load_recordings(arguments.recordings, only={SERIES[0]})
    else:
        store = load_recordings(Path(tempfile.mkdtemp()))
        store.add(SERIES[0], generate_series(SERIES[0], YEAR, 1))
    for number, series in enumerate(SERIES[1:], start=2):
        store.add(series, generate_series(series, YEAR, number))
    # By REST alone the published weight budget would be what is measured; it is lifted to see the program's own speed.
    limits = WeightLimits(spot=10**9, futures=10**9) if arguments.source == "rest" else WeightLimits()
    with (
        tempfile.TemporaryDirectory(prefix="ohlcv-year-") as folder,
        ReplayExchange(store, ReplayClock(YEAR.end_ms + 30_000), weight_limits=limits) as exchange,
    ):
        server = EmbeddedServer(Path(folder) / "pgdata")
        environment = {
            **os.environ,
            "DATABASE_URL": "",
            "EMBEDDED_PG_DIR": str(server.data_dir),
            "STATE_DIR": f"{folder}/state",
            "LOG_DIR": f"{folder}/logs",
            **dict.fromkeys(("BINANCE_API_URL", "BINANCE_UM_API_URL", "BINANCE_CM_API_URL"), exchange.url),
            "BINANCE_ARCHIVE_URL": exchange.archive_url,
            "BINANCE_ARCHIVE_LIST_URL": exchange.archive_list_url,
        }
        names = [str(series) for series in SERIES]
        command = [sys.executable, str(PROJECT / "ohlcv_data_fetcher.py"), "--symbols", *names]
        command += ["--start", "2023-01-01", "--end", "2024-01-01", "--source", arguments.source, "--json"]
        server.ensure_running()
        try:
            for run in ("fresh", "again"):
                exchange.clear_requests()
                began = time.monotonic()
                output, peak = run_measured(command, environment)
                seconds = time.monotonic() - began
                report = json.loads(output)
                inserted = sum(one["inserted"] for one in report["series"])
                sources: dict[str, int] = {}
                for one in report["series"]:
                    for source, rows in one["rows_by_source"].items():
                        sources[source] = sources.get(source, 0) + rows
                print(  # noqa: T201
                    json.dumps(
                        {
                            "source": arguments.source,
                            "run": run,
                            "rows": inserted,
                            "seconds": round(seconds, 1),
                            "rows_per_second": round(inserted / seconds),
                            "peak_mib": round(peak),
                            "rows_by_source": sources,
                            "requests": len(exchange.requests),
                            "kline_requests": exchange.count("klines"),
                        }
                    )
                )
            seconds = time_psql_copy(server, Path(folder))
            rows = sum(len(store.open_times(series)) for series in SERIES)
            print(json.dumps({"psql_copy_of_the_same_rows": rows, "rows_per_second": round(rows / seconds)}))  # noqa: T201
            database = Database.connect(None, server.keywords(), "benchmark")
            with database.transaction("compare") as cursor:
                for series in SERIES:
                    equal = stored_rows(cursor, series.table_name) == truth_rows(store.rows(series))
                    print(json.dumps({"series": str(series), "equal_to_the_truth": equal}))  # noqa: T201
            database.close()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
