"""What can be wrong with an archive."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator

from program import Program

from core.binance.archives import file_stem
from core.series import parse_series
from core.times import parse_time
from demo.faults import Action, AlterBody, Answer, CutBody, Stall
from demo.server import ReplayExchange
from faults.pages import without
from faults.stage import (
    ALWAYS,
    BY_ARCHIVE,
    FEBRUARY,
    HTML,
    IMPATIENT,
    ONLY_ARCHIVES,
    Case,
    Prepare,
    Stage,
    both,
    check_names_the_gap,
    csv_of_february,
    fault,
    settings,
    the_next_run_stores_all,
)


def packed(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def stem(symbol: str) -> str:
    return file_stem(parse_series(f"{symbol}/15m"), FEBRUARY)


def with_flipped_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


Make = Callable[[str], Prepare]  # by symbol


def forged(make: Callable[[str], bytes]) -> Make:
    """Publish another file instead of February's, with a CHECKSUM that fits."""

    def prepare(program: Program, exchange: ReplayExchange, symbol: str) -> None:
        content = make(f"{stem(symbol)}.csv")
        checksum = f"{hashlib.sha256(content).hexdigest()}  {stem(symbol)}.zip".encode()
        exchange.faults.add(
            f"{stem(symbol)}.zip", AlterBody(lambda body: content if body[:2] == b"PK" else checksum), ALWAYS
        )

    return lambda symbol: lambda program, exchange: prepare(program, exchange, symbol)


def csv_changed(change: Callable[[list[bytes]], list[bytes]]) -> Make:
    return forged(lambda name: packed({name: b"\n".join(change(csv_of_february().split(b"\n")))}))


def with_cell(position: int, value: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """Put `value` into a cell of the hundredth candle."""

    def change(lines: list[bytes]) -> list[bytes]:
        cells = lines[100].split(b",")
        return [*lines[:100], b",".join([*cells[:position], value, *cells[position + 1 :]]), *lines[101:]]

    return change


def with_other_close(lines: list[bytes]) -> list[bytes]:
    """Give the hundredth candle its high as close: possible, but not what REST says."""
    cells = lines[100].split(b",")
    assert cells[4] != cells[2]
    return with_cell(4, cells[2])(lines)


def file_fault(end: str, action: Action, times: int = ALWAYS, *, but_not: str = "") -> Make:
    return lambda symbol: fault(f"{stem(symbol)}.zip{end}", action, times, but_not=but_not)


def zips_alone(change: Callable[[bytes], bytes]) -> Make:
    return file_fault("", AlterBody(lambda body: change(body) if body[:2] == b"PK" else body))


def for_all(prepare: Prepare) -> Make:
    return lambda symbol: prepare


def verify_tells_only_against_rest(stage: Stage) -> None:
    """The archive's CHECKSUM fits, so `verify` is content; REST disagrees, and --repair follows it."""
    different = set(stage.stored) ^ set(stage.truth)
    assert {row[0] for row in different} == {stage.truth[100][0]}
    assert stage.run("verify").returncode == 0
    told = stage.run("verify", "--against", "rest")
    assert told.returncode == 3
    assert "different: close" in told.stdout
    assert stage.run("verify", "--against", "rest", "--repair").returncode == 0
    assert stage.stored == stage.truth


def check_names_the_absent_candle(stage: Stage) -> None:
    """Two sources that agree are proof: the candle does not exist, and the evidence is kept."""
    assert len(stage.truth) - len(stage.stored) == 1
    assert set(stage.stored) < set(stage.truth)
    done = stage.run("check", "--gaps")
    assert done.returncode == 0
    assert "not at the exchange 2024-02-01T00:15Z .. 2024-02-01T00:30Z (1 candle)" in done.stdout


FETCHED = ": ok, inserted 2,784"
NO_FILE = "2024-02-01 .. 2024-03-01 was not fetched, no usable archive file has it"
FILES: list[tuple[str, str, Make]] = [
    ("truncated", "its CHECKSUM file says", zips_alone(lambda body: body[: len(body) // 2])),
    ("cut off in transfer, once", FETCHED, file_fault("", CutBody(), times=1, but_not=".CHECKSUM")),
    (
        "corrupt under a valid CHECKSUM",
        "not a readable zip",
        forged(lambda name: with_flipped_bit(packed({name: csv_of_february()}))),
    ),
    (
        "of too many bytes",
        "answers more than 2,473,984 bytes",
        zips_alone(lambda body: body + b"\0" * (3 << 20)),
    ),
    ("that is no zip", "is not a readable zip", forged(lambda name: b"PK" + b"\0" * 5000)),
    (
        "with a stale CHECKSUM",
        "its CHECKSUM file says",
        file_fault(".CHECKSUM", AlterBody(lambda body: b"0" * 64 + body[64:])),
    ),
    ("without CHECKSUM", "answers 404: not published", file_fault(".CHECKSUM", Answer(404, HTML))),
    (
        "with the CHECKSUM of another file",
        "the CHECKSUM file of",
        file_fault(".CHECKSUM", AlterBody(lambda body: body.replace(b"15m", b"30m"))),
    ),
    ("that lacks rows", FETCHED, csv_changed(lambda lines: lines[:70] + lines[90:])),
    ("with impossible values", "holds unusable rows: impossible candle", csv_changed(with_cell(4, b"NaN"))),
    (
        "with a candle a millisecond late",
        FETCHED,
        csv_changed(with_cell(0, str(FEBRUARY.span.start_ms + 100 * 900_000 + 1).encode())),
    ),
    ("with a cut row", "holds unusable rows", csv_changed(lambda lines: [*lines[:50], b"17067"])),
    ("that is out of order", "doubled or out of order", csv_changed(lambda lines: lines[-2::-1])),
    (
        "with candles of another month",
        "holds a candle of 2024-03-01",
        csv_changed(lambda lines: [*lines[:-1], b"1709251200000" + lines[-2][13:], b""]),
    ),
    (
        "that is a zip bomb",
        "unpacks to more than",
        forged(lambda name: packed({name: csv_of_february() + b"\n" * 20_000_000})),
    ),
    (
        "with another member",
        "extra.csv instead of",
        forged(lambda name: packed({name: csv_of_february(), "extra.csv": b"1"})),
    ),
    (
        "with a member outside its folder",
        "holds ../x.csv instead of",
        forged(lambda name: packed({"../x.csv": csv_of_february()})),
    ),
    ("of nothing", FETCHED, forged(lambda name: packed({name: b""}))),
    ("with 5xx for ever", "answers 503 (given up after 4 attempts", file_fault("", Answer(503, HTML))),
    (
        "that is refused with 403",
        "answers 403: not published, or not for this address",
        file_fault("", Answer(403, HTML)),
    ),
]


def file_cases() -> Iterator[Case]:
    for number, (kind, named, make) in enumerate(FILES):
        symbol = f"FILE{number}USDT"
        yield Case(f"archive {kind}", 0, named, "all", make(symbol), BY_ARCHIVE, symbol=symbol, group="files")


ARCHIVES = [
    Case(
        "archive that lacks rows, and REST too",
        0,
        "inserted 2,783, there 0, conflicts 0, healed 0, not at exchange 1",
        "other",
        both(
            csv_changed(lambda lines: lines[:1] + lines[2:])("BTCUSDT"),
            fault("klines", without(parse_time("2024-02-01T00:15"))),
        ),
        BY_ARCHIVE,
        check_names_the_absent_candle,
    ),
    Case(
        "archive that differs from REST",
        0,
        FETCHED,
        "other",
        csv_changed(with_other_close)("BTCUSDT"),
        BY_ARCHIVE,
        verify_tells_only_against_rest,
    ),
    Case(
        "archive listing unreadable",
        0,
        "file names are guessed",
        "all",
        fault("prefix=", AlterBody(lambda body: HTML.encode())),
        BY_ARCHIVE,
    ),
    Case(
        "archive host unreachable",
        0,
        "is left out for five minutes",
        "all",
        settings(BINANCE_ARCHIVE_URL="http://127.0.0.1:9", BINANCE_ARCHIVE_LIST_URL="http://127.0.0.1:9"),
        BY_ARCHIVE,
    ),
    Case(
        "archive host stalled for ever",
        0,
        "is left out for five minutes",
        "all",
        both(IMPATIENT, fault("data/", Stall(60))),
        BY_ARCHIVE,
    ),
    Case(
        "archive truncated, and only archives allowed",
        0,
        "its CHECKSUM file says",
        "all",
        zips_alone(lambda body: body[:-1])("BTCUSDT"),
        ONLY_ARCHIVES,
    ),
    Case(
        "all archives truncated, and only archives allowed",
        3,
        NO_FILE,
        "none",
        fault(".zip", AlterBody(lambda body: body[:-1] if body[:2] == b"PK" else body)),
        ONLY_ARCHIVES,
        the_next_run_stores_all,
    ),
    Case(
        "archive that lacks rows, and only archives allowed",
        3,
        "2024-02-01T17:30Z .. 2024-02-01T22:30Z",
        "part",
        csv_changed(lambda lines: lines[:70] + lines[90:])("BTCUSDT"),
        ONLY_ARCHIVES,
        check_names_the_gap,
    ),
    Case(
        "archive with a candle a second late, and only archives allowed",
        0,
        "inserted 2,784, there 0, conflicts 0, healed 1",
        "all",
        csv_changed(with_cell(0, str(FEBRUARY.span.start_ms + 100 * 900_000 + 1000).encode()))("BTCUSDT"),
        ONLY_ARCHIVES,
    ),
    Case(
        "archive with an impossible value in the month and the day, and only archives allowed",
        0,
        "inserted 2,783, there 0, conflicts 0, healed 0, not at exchange 1",
        "other",
        # The day's file cannot be had, so that nothing finer can be asked.
        both(csv_changed(with_cell(5, b"-1"))("BTCUSDT"), fault("2024-02-02.zip", Answer(404, HTML))),
        ONLY_ARCHIVES,
    ),
    Case(
        "archive host unreachable, and only archives allowed",
        3,
        "no whole answer from http://127.0.0.1:9",
        "none",
        settings(BINANCE_ARCHIVE_LIST_URL="http://127.0.0.1:9"),
        ONLY_ARCHIVES,
    ),
]
