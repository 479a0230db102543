from __future__ import annotations

import hashlib
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from core.instrument import Market
from core.series import parse_series
from core.times import MS_PER_DAY, parse_time
from demo.candle_store import CandleStore
from demo.recordings import identify, load_recordings, read_rows
from demo.server import ReplayExchange

Run = Callable[..., ReplayExchange]
DAY_MS = parse_time("2024-03-01")
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def csv_of(day: str, unit: int = 1, header: bool = False) -> str:
    start = parse_time(day)
    lines = [
        f"{(start + n * 60_000) * unit},1.5,2.5,0.5,1.0,7.25,{(start + n * 60_000 + 60_000) * unit - 1},9.125,{n},3,4,0"
        for n in range(3)
    ]
    return "\n".join([HEADER, *lines] if header else lines) + "\n"


def put_zip(path: Path, text: str) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(path.name.replace(".zip", ".csv"), text)
    return path.read_bytes()


def put_xz(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt") as packed:
        packed.write(text)


def test_all_kinds_of_files_become_the_same_rest_rows(tmp_path: Path) -> None:
    put_zip(tmp_path / "spot/BTCUSDT-1m-2024-03-01.zip", csv_of("2024-03-01"))
    put_zip(tmp_path / "spot/BTCUSDT-1m-2024-03-02.zip", csv_of("2024-03-02", unit=1000))
    put_xz(tmp_path / "spot/BTCUSDT-1m-2024-03-03.csv.xz", csv_of("2024-03-03", header=True))
    put_xz(tmp_path / "spot/BTCUSDT-1m-2024-03-04.noheader.csv.xz", csv_of("2024-03-04"))
    (tmp_path / "spot/BTCUSDT-1m-2024-03-05.csv").write_text(csv_of("2024-03-05"))
    rows = load_recordings(tmp_path).rows(parse_series("BTCUSDT"))
    expected = [
        [ms, "1.5", "2.5", "0.5", "1.0", "7.25", ms + 59_999, "9.125", n, "3", "4", "0"]
        for day in range(5)
        for n in range(3)
        for ms in [DAY_MS + day * MS_PER_DAY + n * 60_000]
    ]
    assert rows == expected


@pytest.mark.parametrize(
    ("path", "series", "days"),
    [
        ("spot/BTCUSDT-1mo-2024-02.zip", "BTCUSDT/1M", 29),
        ("spot/BTCUSDT-1M-2024-02.csv", "BTCUSDT/1M", 29),
        ("futures/um/BTCUSDT-1h-2024-02-03.zip", "um:BTCUSDT/1h", 1),
        ("um/BTCUSDT_240329-1h-2024-02-03.zip", "um:BTCUSDT_240329/1h", 1),
        ("cm/BTCUSD_PERP-1m-2024-Q1.csv.xz", "cm:BTCUSD_PERP/1m", 91),
    ],
)
def test_what_names_say(tmp_path: Path, path: str, series: str, days: int) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.touch()
    recording = identify(file)
    assert recording is not None
    assert recording.series == parse_series(series)
    assert recording.span.end_ms - recording.span.start_ms == days * MS_PER_DAY


@pytest.mark.parametrize(
    "path",
    [
        "um/BTCUSDT-fundingRate-2024-02.zip",
        "um/BTCUSDT-bookDepth-2024-02-03.zip",
        "spot/BTCUSDT-aggTrades-2024-02-03.zip",
        "um/markPriceKlines/BTCUSDT-1m-2024-02-03.zip",
        "spot/BTCUSDT-1m-2024-02-03.zip.CHECKSUM",
        "options/BTCUSDT-1m-2024-02-03.zip",
        "um/BTCUSDT-1s-2024-02-03.zip",
        "spot/README.md",
    ],
)
def test_what_is_passed_over(tmp_path: Path, path: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.touch()
    assert identify(file) is None


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    put_zip(tmp_path / "spot/BTCUSDT-1m-2024-03-01.zip", csv_of("2024-03-01"))
    put_zip(tmp_path / "spot/ETHUSDT-1m-2024-03-01.zip", "not a candle\n")
    assert load_recordings(tmp_path, only={parse_series("BTCUSDT")}).symbols(Market.SPOT) == ["BTCUSDT"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    put_zip(tmp_path / "spot/BTCUSDT-1m-2024-03-01.zip", "1,2,3\n")
    with pytest.raises(ValueError, match=r"BTCUSDT-1m-2024-03-01\.zip line 1: 3 items"):
        load_recordings(tmp_path)
    (tmp_path / "spot/BTCUSDT-1m-2024-03-01.zip").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="not a zip"):
        load_recordings(tmp_path)


def test_recorded_zips_are_served_as_they_are(tmp_path: Path, run: Run, http: requests.Session) -> None:
    with_checksum = put_zip(tmp_path / "spot/BTCUSDT-1m-2024-03-01.zip", csv_of("2024-03-01"))
    without = put_zip(tmp_path / "spot/BTCUSDT-1m-2024-03-02.zip", csv_of("2024-03-02"))
    (tmp_path / "spot/BTCUSDT-1m-2024-03-01.zip.CHECKSUM").write_bytes(b"as recorded, even when stale")
    exchange = run(load_recordings(tmp_path), "2024-03-10")
    base = exchange.archive_url + "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-03-0"
    assert http.get(base + "1.zip").content == with_checksum
    assert http.get(base + "1.zip.CHECKSUM").content == b"as recorded, even when stale"
    assert http.get(base + "2.zip").content == without
    digest = hashlib.sha256(without).hexdigest()
    assert http.get(base + "2.zip.CHECKSUM").text == f"{digest}  BTCUSDT-1m-2024-03-02.zip"
    listing = http.get(exchange.archive_list_url, params={"prefix": "data/spot/daily/"}).text
    assert f"<Size>{len(without)}</Size>" in listing


def test_a_month_is_made_of_days_only_when_all_are_recorded(tmp_path: Path, run: Run, http: requests.Session) -> None:
    for day in range(1, 30):
        put_zip(tmp_path / f"spot/BTCUSDT-1m-2024-02-{day:02d}.zip", csv_of(f"2024-02-{day:02d}"))
    path = "/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-02.zip"
    answer = http.get(run(load_recordings(tmp_path), "2024-03-10").archive_url + path)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        text = archive.read("BTCUSDT-1m-2024-02.csv").decode()
    assert text == "".join(csv_of(f"2024-02-{day:02d}") for day in range(1, 30))

    (tmp_path / "spot/BTCUSDT-1m-2024-02-17.zip").unlink()
    assert http.get(run(load_recordings(tmp_path), "2024-03-10").archive_url + path).status_code == 404


@pytest.fixture(scope="module")
def recorded(recorded_folder: Path) -> CandleStore:
    wanted = {parse_series(text) for text in ("BTCUSDT/1h", "BTCUSDT/5m", "um:BTCUSDT", "cm:BTCUSD_PERP")}
    return load_recordings(recorded_folder / "archives", only=wanted)


class TestWithBinancesOwnFiles:
    """What the exchange itself published, where it is at hand."""

    def test_rest_answers_digit_for_digit_what_binance_answered(
        self, recorded_folder: Path, recorded: CandleStore, run: Run, http: requests.Session
    ) -> None:
        answered = json.loads((recorded_folder / "rest/api_v3_klines.BTCUSDT.1h.2024-01-15.json").read_text())
        start_ms = parse_time("2024-01-15")
        params = {"symbol": "BTCUSDT", "interval": "1h", "startTime": start_ms, "endTime": start_ms + MS_PER_DAY - 1}
        assert http.get(run(recorded, "2024-06-01").url + "/api/v3/klines", params=params).json() == answered

    def test_a_recorded_zip_and_its_checksum_are_served_unchanged_and_agree(
        self, recorded_folder: Path, recorded: CandleStore, run: Run, http: requests.Session
    ) -> None:
        url = run(recorded, "2026-06-01").archive_url + "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-05-08.zip"
        file = recorded_folder / "archives/spot/1h/with-checksum-2026-us/BTCUSDT-1h-2026-05-08.zip"
        zipped, checksum = http.get(url).content, http.get(url + ".CHECKSUM").content
        assert zipped == file.read_bytes()
        assert checksum == file.with_name(file.name + ".CHECKSUM").read_bytes()
        assert checksum.decode().split() == [hashlib.sha256(zipped).hexdigest(), file.name]

    def test_recorded_microseconds_become_milliseconds(self, recorded: CandleStore) -> None:
        last = recorded.rows(parse_series("BTCUSDT/1h"))[-1]
        assert (last[0], last[6]) == (parse_time("2026-05-09T23:00"), parse_time("2026-05-10") - 1)

    @pytest.mark.parametrize(
        ("name", "key"),
        [
            ("spot/5m/BTCUSDT/BTCUSDT-5m-2025-01.csv.xz", "spot/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-2025-01.zip"),
            ("spot/5m/BTCUSDT/BTCUSDT-5m-2018-02.csv.xz", "spot/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-2018-02.zip"),
            (
                "um/1m/BTCUSDT-1m-2022-05-05.noheader.csv.xz",
                "futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2022-05-05.zip",
            ),
        ],
    )
    def test_archives_made_of_rows_are_byte_for_byte_binances_csv(
        self, recorded_folder: Path, recorded: CandleStore, run: Run, http: requests.Session, name: str, key: str
    ) -> None:
        answer = http.get(f"{run(recorded, '2026-06-01').archive_url}/data/{key}")
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            made = archive.read(archive.namelist()[0])
        assert made == lzma.decompress((recorded_folder / "archives" / name).read_bytes())

    def test_a_futures_zip_made_of_rows_holds_binances_csv(
        self, recorded_folder: Path, run: Run, http: requests.Session
    ) -> None:
        path = recorded_folder / "archives/cm/1m/BTCUSD_PERP-1m-2022-10-24.zip"
        store = CandleStore()
        store.add(parse_series("cm:BTCUSD_PERP"), read_rows(path))
        key = "futures/cm/daily/klines/BTCUSD_PERP/1m/BTCUSD_PERP-1m-2022-10-24.zip"
        answer = http.get(f"{run(store, '2026-06-01').archive_url}/data/{key}")
        with zipfile.ZipFile(path) as real, zipfile.ZipFile(io.BytesIO(answer.content)) as made:
            assert made.namelist() == real.namelist()
            assert made.read(made.namelist()[0]) == real.read(real.namelist()[0])

    def test_a_year_of_recorded_minutes_is_whole(self, recorded_folder: Path) -> None:
        store = load_recordings(recorded_folder / "archives" / "spot" / "1m" / "BTCUSDT-2023")
        assert len(store.candles(parse_series("BTCUSDT"))) == 525_520
