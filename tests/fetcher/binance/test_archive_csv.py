"""From a downloaded zip to candles, or to ArchiveUnavailable."""

from __future__ import annotations

import lzma
import struct
import tracemalloc
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fetcher_helpers import Row, columns_of, csv_of, generated, rows_of, write_zip
from hypothesis import given
from hypothesis import strategies as st

from core.archives import Period, day_of, month_of
from core.binance.archives import file_stem, period_of_file
from core.candles import CandleBatch, missing_spans
from core.errors import ArchiveUnavailable
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_DAY, MS_PER_HOUR, parse_time
from demo.generated_market import generate_series
from demo.recordings import identify, read_rows
from fetcher.binance.archive_csv import read_archive

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
SERIES = parse_series("BTCUSDT/1h")
DAY = day_of(parse_time("2024-03-01"))
NAME = "BTCUSDT-1h-2024-03-01.csv"
ROWS = generated(SERIES, "2024-03-01", 24)[1]


def read(folder: Path, text: str, series: Series = SERIES, period: Period = DAY) -> CandleBatch:
    path = write_zip(folder / "any.zip", {f"{file_stem(series, period)}.csv": text})
    return read_archive(path, series, period)


def altered(position: int, value: Any, row: int = 3) -> list[Row]:
    return [[*r[:position], value, *r[position + 1 :]] if n == row else r for n, r in enumerate(ROWS)]


class TestEveryWayOfWriting:
    @pytest.mark.parametrize("header", ["", HEADER, HEADER.upper(), "Open time,Open,High", "some,other,words"])
    @pytest.mark.parametrize("microseconds", [False, True])
    def test_gives_the_same_candles(self, tmp_path: Path, header: str, microseconds: bool) -> None:
        text = csv_of(ROWS, header=header, microseconds=microseconds)
        assert rows_of(read(tmp_path, text)) == columns_of(ROWS)

    @pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n"])
    def test_line_endings_make_no_difference(self, tmp_path: Path, ending: str) -> None:
        text = csv_of(ROWS).replace("\n", ending)
        assert rows_of(read(tmp_path, text)) == columns_of(ROWS)

    def test_the_last_line_may_lack_its_end(self, tmp_path: Path) -> None:
        assert rows_of(read(tmp_path, csv_of(ROWS).rstrip())) == columns_of(ROWS)

    @pytest.mark.parametrize("before", ["\n", "\r\n", "\n\n"], ids=repr)
    @pytest.mark.parametrize("header", ["", HEADER])
    def test_empty_lines_at_the_start_make_no_difference(self, tmp_path: Path, before: str, header: str) -> None:
        assert rows_of(read(tmp_path, before + csv_of(ROWS, header=header))) == columns_of(ROWS)

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    def test_the_way_of_packing_makes_no_difference(self, tmp_path: Path, method: int) -> None:
        path = tmp_path / "any.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr(NAME, csv_of(ROWS))
        assert rows_of(read_archive(path, SERIES, DAY)) == columns_of(ROWS)

    @pytest.mark.parametrize("text", ["", "\n", " \n\n"])
    def test_an_empty_file_has_no_candles(self, tmp_path: Path, text: str) -> None:
        assert read(tmp_path, text).rows == 0

    def test_a_header_alone_has_no_candles(self, tmp_path: Path) -> None:
        assert read(tmp_path, HEADER + "\n").rows == 0

    def test_trailing_zeros_and_missing_decimals_are_kept(self, tmp_path: Path) -> None:
        rows = [[ROWS[0][0], "1.50", "2", "1.0000", "1.5", "0", 0, "0.00", 7, "0.000", "0", "0"]]
        assert rows_of(read(tmp_path, csv_of(rows))) == columns_of(rows)

    def test_holes_stay_holes(self, tmp_path: Path) -> None:
        rows = ROWS[:5] + ROWS[9:]
        batch = read(tmp_path, csv_of(rows))
        assert rows_of(batch) == columns_of(rows)
        assert missing_spans(batch.open_times(), SERIES.interval, DAY.span) == [Span(ROWS[5][0], ROWS[9][0])]


class TestEveryInterval:
    @pytest.mark.parametrize(
        ("notation", "period", "count"),
        [
            ("BTCUSDT/1s", day_of(parse_time("2024-03-01")), 86_400),
            ("BTCUSDT/1m", month_of(parse_time("2024-02-01")), 29 * 1440),
            ("um:BTCUSDT/3d", month_of(parse_time("2024-03-01")), 11),
            ("um:BTCUSDT/1w", month_of(parse_time("2024-04-01")), 5),
            ("cm:BTCUSD_PERP/1M", month_of(parse_time("2024-03-01")), 1),
        ],
    )
    def test_a_whole_period_is_read(self, tmp_path: Path, notation: str, period: Period, count: int) -> None:
        series = parse_series(notation)
        rows = list(generate_series(series, period.span))
        assert len(rows) == count
        assert rows_of(read(tmp_path, csv_of(rows), series, period)) == columns_of(rows)

    def test_the_month_is_called_1mo_inside_as_well(self, tmp_path: Path) -> None:
        series, period = parse_series("BTCUSDT/1M"), month_of(parse_time("2024-03-01"))
        rows = list(generate_series(series, period.span))
        path = write_zip(tmp_path / "any.zip", {"BTCUSDT-1mo-2024-03.csv": csv_of(rows)})
        assert rows_of(read_archive(path, series, period)) == columns_of(rows)
        other = write_zip(tmp_path / "other.zip", {"BTCUSDT-1M-2024-03.csv": csv_of(rows)})
        with pytest.raises(ArchiveUnavailable, match="instead of BTCUSDT-1mo-2024-03.csv"):
            read_archive(other, series, period)

    @pytest.mark.parametrize("microseconds", [False, True])
    def test_candles_off_the_grid_keep_their_open_times(self, tmp_path: Path, microseconds: bool) -> None:
        """After the halt of 2018-02-08 open times were shifted by seconds and milliseconds."""
        series, day = parse_series("BTCUSDT/1m"), day_of(parse_time("2018-02-09"))
        halt = Span(day.span.start_ms + 9 * MS_PER_HOUR, day.span.start_ms + 10 * MS_PER_HOUR)
        off_grid = Span(halt.end_ms, day.span.end_ms)
        rows = list(generate_series(series, day.span, halts=[halt], off_grid=[off_grid]))
        shifted = [row[0] for row in rows if row[0] % 60_000]
        assert len(shifted) > 800 and shifted[0] % 60_000 == 14_789
        assert rows_of(read(tmp_path, csv_of(rows, microseconds=microseconds), series, day)) == columns_of(rows)


class TestAZipThatIsNotWhatItsNameSays:
    @pytest.mark.parametrize(
        "members",
        [
            {},
            {"BTCUSDT-1h-2024-03-02.csv": "x"},
            {"btcusdt-1h-2024-03-01.csv": "x"},
            {"data/" + NAME: "x"},
            {"../../" + NAME: "x"},
            {NAME: "", "more.csv": ""},
            {"a.csv": "", NAME: ""},
            {f"{n}.csv": "" for n in range(1000)},
        ],
        ids=["empty", "another day", "lower case", "in a folder", "above", "one more", "one before", "a thousand"],
    )
    def test_its_members_decide(self, tmp_path: Path, members: dict[str, str]) -> None:
        path = write_zip(tmp_path / "any.zip", members)
        with pytest.raises(ArchiveUnavailable, match=f"instead of {NAME}") as caught:
            read_archive(path, SERIES, DAY)
        assert len(str(caught.value)) < 700
        assert [entry.name for entry in tmp_path.iterdir()] == ["any.zip"]

    def test_the_same_member_twice(self, tmp_path: Path) -> None:
        path = tmp_path / "any.zip"
        with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(NAME, csv_of(ROWS))
            archive.writestr(NAME, csv_of(ROWS))
        with pytest.raises(ArchiveUnavailable):
            read_archive(path, SERIES, DAY)

    def test_no_file_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(ArchiveUnavailable, match="not a readable zip"):
            read_archive(tmp_path / "absent.zip", SERIES, DAY)

    def test_an_encrypted_member(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "any.zip", {NAME: csv_of(ROWS)})
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
        content[6] |= 1
        path.write_bytes(content)
        with pytest.raises(ArchiveUnavailable, match="encrypted"):
            read_archive(path, SERIES, DAY)

    def test_a_member_name_that_is_no_text(self, tmp_path: Path) -> None:
        """Marked as UTF-8, which it is not: the zip reader itself fails with a ValueError."""
        path = write_zip(tmp_path / "any.zip", {NAME: csv_of(ROWS)})
        content = bytearray(path.read_bytes())
        entry = content.index(b"PK\x01\x02")
        content[entry + 9] |= 8
        content[entry + 46] = 0xFF
        path.write_bytes(content)
        with pytest.raises(ArchiveUnavailable, match="not a readable zip"):
            read_archive(path, SERIES, DAY)

    @pytest.mark.parametrize("garbage", [b"", b"PK", b"<html>404</html>", b"\x00" * 5000, b"PK\x03\x04" + b"x" * 200])
    def test_garbage(self, tmp_path: Path, garbage: bytes) -> None:
        path = tmp_path / "any.zip"
        path.write_bytes(garbage)
        with pytest.raises(ArchiveUnavailable, match="BTCUSDT-1h-2024-03-01.zip is not a readable zip"):
            read_archive(path, SERIES, DAY)

    def test_a_member_that_cannot_be_unpacked(self, tmp_path: Path) -> None:
        path = tmp_path / "any.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(NAME, csv_of(ROWS))
        content = bytearray(path.read_bytes())
        content[30 + len(NAME)] = 0b111  # the head of the data: a kind of block that does not exist
        path.write_bytes(content)
        with pytest.raises(ArchiveUnavailable, match="not a readable zip"):
            read_archive(path, SERIES, DAY)

    @given(share=st.floats(0, 0.999))
    def test_a_truncated_zip(self, tmp_path: Path, share: float) -> None:
        path = write_zip(tmp_path / "any.zip", {NAME: csv_of(ROWS)})
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ArchiveUnavailable):
            read_archive(path, SERIES, DAY)

    @given(where=st.floats(0, 1), flip=st.integers(1, 255))
    def test_one_changed_byte_of_the_packed_rows_is_found_or_harmless(
        self, tmp_path: Path, where: float, flip: int
    ) -> None:
        path = write_zip(tmp_path / "any.zip", {NAME: csv_of(ROWS)})
        content = bytearray(path.read_bytes())
        first, last = 30 + len(NAME), content.index(b"PK\x01\x02") - 1
        content[first + int((last - first) * where)] ^= flip
        path.write_bytes(content)
        try:
            batch = read_archive(path, SERIES, DAY)
        except ArchiveUnavailable:
            return
        assert rows_of(batch) == columns_of(ROWS)


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small zip that unpacks to 300 MB."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(NAME, "w") as member,
    ):
        for _ in range(300):
            member.write(b"1" * (1 << 20))
    return path


class TestAZipBomb:
    def peak_while_refusing(self, path: Path) -> int:
        tracemalloc.start()
        try:
            with pytest.raises(ArchiveUnavailable):
                read_archive(path, SERIES, DAY)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_is_refused_in_little_memory(self, bomb: Path) -> None:
        assert bomb.stat().st_size < 5 << 20
        with pytest.raises(ArchiveUnavailable, match="unpacks to more than|straddles"):
            read_archive(bomb, SERIES, DAY)
        assert self.peak_while_refusing(bomb) < 16 << 20

    def test_is_refused_as_well_when_its_directory_lies_about_the_size(self, bomb: Path, tmp_path: Path) -> None:
        content = bytearray(bomb.read_bytes())
        entry = content.rindex(b"PK\x01\x02")
        content[entry + 24 : entry + 28] = struct.pack("<I", 1000)
        path = tmp_path / "liar.zip"
        path.write_bytes(content)
        assert self.peak_while_refusing(path) < 16 << 20


BAD_ROWS: dict[str, Sequence[Row]] = {
    "eleven fields": [row[:11] for row in ROWS],
    "thirteen fields": [[*row, "0"] for row in ROWS],
    "one row of eleven fields": [*ROWS[:5], ROWS[5][:11], *ROWS[6:]],
    "one row cut off": [*ROWS[:5], ROWS[5][:3]],
    "newest first": ROWS[::-1],
    "a candle twice": [*ROWS[:5], ROWS[4], *ROWS[5:]],
    "two candles exchanged": [*ROWS[:4], ROWS[5], ROWS[4], *ROWS[6:]],
    "a candle of the day before": [[ROWS[0][0] - 1, *ROWS[0][1:]], *ROWS],
    "a candle of the day after": [*ROWS, [DAY.span.end_ms, *ROWS[0][1:]]],
    "another day altogether": [[row[0] + 7 * MS_PER_DAY, *row[1:]] for row in ROWS],
    "milliseconds and then microseconds": [*ROWS[:12], *[[row[0] * 1000, *row[1:]] for row in ROWS[12:]]],
    "nanoseconds": [[row[0] * 10**6, *row[1:]] for row in ROWS],
    "microseconds and then milliseconds": [*[[row[0] * 1000, *row[1:]] for row in ROWS[:12]], *ROWS[12:]],
    "seconds": [[row[0] // 1000, *row[1:]] for row in ROWS],
    "a word for a time": altered(0, "yesterday"),
    "no time": altered(0, ""),
    "a time with decimals": altered(0, "1709262000000.5"),
    "a time beyond 64 bits": altered(0, 2**63),
    "high below low": [[r[0], r[1], r[3], r[2], *r[4:]] for r in ROWS],
    "no trades": altered(8, ""),
    "trades with decimals": altered(8, "5.5"),
    "another header in the middle": [*ROWS[:5], HEADER.split(","), *ROWS[5:]],
}


@pytest.mark.parametrize("header", ["", HEADER], ids=["no header", "header"])
@pytest.mark.parametrize("rows", BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_file_with_a_bad_row_is_refused_as_a_whole(tmp_path: Path, rows: Sequence[Row], header: str) -> None:
    with pytest.raises(ArchiveUnavailable, match="archive BTCUSDT-1h-2024-03-01.zip holds"):
        read(tmp_path, csv_of(rows, header=header))


IMPOSSIBLE_ROWS: dict[str, Sequence[Row]] = {
    "a word for a price": altered(1, "n/a"),
    "no price": altered(2, ""),
    "NaN for a price": altered(3, "NaN"),
    "an exponent": altered(5, "1e-05"),
    "a quoted price": altered(1, f'"{ROWS[3][1]}"'),
    "blanks around a price": altered(1, f" {ROWS[3][1]} "),
    "a negative price": altered(3, "-1.0"),
    "a price of zero": altered(3, "0.0"),
    "a negative volume": altered(5, "-1.0"),
    "negative trades": altered(8, "-1"),
    "more trades than the column holds": altered(8, 2**31),
}


@pytest.mark.parametrize("header", ["", HEADER], ids=["no header", "header"])
@pytest.mark.parametrize("rows", IMPOSSIBLE_ROWS.values(), ids=IMPOSSIBLE_ROWS.keys())
def test_a_row_that_cannot_be_a_candle_is_told_apart(tmp_path: Path, rows: Sequence[Row], header: str) -> None:
    batch = read(tmp_path, csv_of(rows, header=header))
    assert rows_of(batch) == columns_of([row for row in ROWS if row is not ROWS[3]])
    assert [one.open_ms for one in batch.unusable] == [ROWS[3][0]]


@pytest.mark.parametrize("before", ["\ufeff", " ", "\t", "\ufeff "], ids=repr)
@pytest.mark.parametrize("microseconds", [False, True])
def test_a_first_row_behind_a_mark_or_a_blank_is_a_row_and_not_a_header(
    tmp_path: Path, before: str, microseconds: bool
) -> None:
    batch = read(tmp_path, before + csv_of(ROWS, microseconds=microseconds))
    assert rows_of(batch) == columns_of(ROWS)


@pytest.mark.parametrize("before", ['"', '\ufeff"', "NaN,", "NaN"], ids=repr)
def test_a_first_row_that_is_damaged_is_refused_and_not_taken_for_a_header(tmp_path: Path, before: str) -> None:
    with pytest.raises(ArchiveUnavailable, match="holds unusable rows"):
        read(tmp_path, before + csv_of(ROWS))


@pytest.mark.parametrize("before", ["\ufeff", " ", "\t", "\0"], ids=repr)
def test_a_header_behind_a_mark_or_a_blank_is_no_header_and_refuses_the_file(tmp_path: Path, before: str) -> None:
    with pytest.raises(ArchiveUnavailable, match="holds unusable rows"):
        read(tmp_path, before + csv_of(ROWS, header=HEADER))


@pytest.mark.parametrize(
    "time",
    [
        f"{ROWS[0][0]}.5",
        f"{ROWS[0][0]}.0",
        "1.7092512E12",
        f"-{ROWS[0][0]}",
        f"+{ROWS[0][0]}",
        f"\0{ROWS[0][0]}",
        f"\u00a0{ROWS[0][0]}",
        f"17o{str(ROWS[0][0])[3:]}",
        f"x{ROWS[0][0]}",
        "",
    ],
    ids=repr,
)
def test_a_first_row_with_a_damaged_time_is_refused_and_not_taken_for_a_header(tmp_path: Path, time: str) -> None:
    with pytest.raises(ArchiveUnavailable, match="archive BTCUSDT-1h-2024-03-01.zip holds"):
        read(tmp_path, csv_of(altered(0, time, row=0)))


@pytest.mark.parametrize("end", [13, 14, 40])
def test_a_first_row_that_is_cut_off_is_refused_and_not_taken_for_a_header(tmp_path: Path, end: int) -> None:
    first, others = csv_of(ROWS).split("\n", 1)
    with pytest.raises(ArchiveUnavailable, match="holds unusable rows"):
        read(tmp_path, f"{first[:end]}\n{others}")


@pytest.mark.parametrize("text", ["<html></html>\n<p>", "\x00\x01\x02\n\x00", "1\n", "7,7,7\n"])
def test_a_text_that_is_no_csv_of_candles_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ArchiveUnavailable):
        read(tmp_path, text + csv_of(ROWS))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    content = csv_of(ROWS).encode().replace(ROWS[3][1].encode(), b"\xff\xfe")
    path = tmp_path / "any.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(NAME, content)
    with pytest.raises(ArchiveUnavailable):
        read_archive(path, SERIES, DAY)


class TestRecordedArchives:
    def test_every_recorded_zip_is_read_digit_for_digit(self, shared_data: Path) -> None:
        zips = [path for path in sorted(shared_data.rglob("*.zip")) if "BTCUSDT-2023/" not in str(path)]
        recordings = [found for found in map(identify, zips) if found is not None and found.period is not None]
        assert len(recordings) > 90
        for one in recordings:
            period = period_of_file(one.path.name)
            assert period is not None
            batch = read_archive(one.path, one.series, period)
            assert rows_of(batch) == columns_of(list(read_rows(one.path))), one.path.name

    def test_a_recorded_year_of_minutes_lacks_only_the_outage_of_march(self, shared_data: Path) -> None:
        series, total = parse_series("BTCUSDT/1m"), 0
        short = {}
        for path in sorted((shared_data / "archives/spot/1m/BTCUSDT-2023").glob("*.zip")):
            day = day_of(parse_time(path.stem[-10:]))
            times = read_archive(path, series, day).open_times()
            total += len(times)
            if holes := missing_spans(times, series.interval, day.span):
                short[path.stem[-10:]] = holes
        assert total == 525_520
        assert short == {"2023-03-24": [Span(parse_time("2023-03-24T12:40"), parse_time("2023-03-24T14:00"))]}

    @pytest.mark.parametrize(
        ("place", "notation", "period", "rows"),
        [
            ("spot/5m/BTCUSDT/BTCUSDT-5m-2018-02.csv.xz", "BTCUSDT/5m", month_of(parse_time("2018-02-01")), None),
            ("spot/5m/BTCUSDT/BTCUSDT-5m-2020-12.csv.xz", "BTCUSDT/5m", month_of(parse_time("2020-12-01")), None),
            ("spot/5m/BTCUSDT/BTCUSDT-5m-2024-12.csv.xz", "BTCUSDT/5m", month_of(parse_time("2024-12-01")), 8928),
            ("spot/5m/BTCUSDT/BTCUSDT-5m-2025-01.csv.xz", "BTCUSDT/5m", month_of(parse_time("2025-01-01")), 8928),
            ("spot/1h/monthly/BTCUSDT-1h-2021-12.csv.xz", "BTCUSDT/1h", month_of(parse_time("2021-12-01")), 744),
            ("um/1m/ALGOUSDT-1m-2024-09.csv.xz", "um:ALGOUSDT/1m", month_of(parse_time("2024-09-01")), 43_200),
            (
                "um/1m/BTCUSDT-1m-2022-05-05.noheader.csv.xz",
                "um:BTCUSDT/1m",
                day_of(parse_time("2022-05-05")),
                1440,
            ),
        ],
    )
    def test_recorded_csv_files_are_read_digit_for_digit(
        self, shared_data: Path, tmp_path: Path, place: str, notation: str, period: Period, rows: int | None
    ) -> None:
        """In ms, in microseconds, with and without a header, off the grid, closing before they open."""
        path, series = shared_data / "archives" / place, parse_series(notation)
        batch = read(tmp_path, lzma.decompress(path.read_bytes()).decode(), series, period)
        expected = columns_of(list(read_rows(path)))
        assert rows_of(batch) == expected
        assert rows is None or len(expected) == rows

    def test_the_recorded_candles_off_the_grid_keep_their_open_times(self, shared_data: Path, tmp_path: Path) -> None:
        path = shared_data / "archives/spot/5m/BTCUSDT/BTCUSDT-5m-2018-02.csv.xz"
        period = month_of(parse_time("2018-02-01"))
        text = lzma.decompress(path.read_bytes()).decode()
        times = read(tmp_path, text, parse_series("BTCUSDT/5m"), period).open_times()
        off_grid = [time for time in times if time % 300_000]
        assert len(off_grid) == 241
        assert {time % 300_000 for time in off_grid} == {194_789}
