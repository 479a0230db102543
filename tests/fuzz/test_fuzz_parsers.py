"""Whatever comes in from outside, a parser answers with what it read or with one of the project's own errors."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
import urllib3
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from config.settings import SETTINGS, load_settings
from config.symbols import load_symbols_file
from core.archives import day_of
from core.binance.archives import file_stem
from core.binance.row import ROW_POSITIONS
from core.columns import SCHEMA
from core.errors import ConfigurationError, ExchangeBanned, FetcherError
from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_DAY, format_ms, parse_time
from demo.generated_market import generate_series
from fetcher.ban_file import BanFile
from fetcher.binance.archive import ArchiveClient
from fetcher.binance.archive_csv import read_archive
from fetcher.binance.rest_answers import read_json
from fetcher.binance.rest_page import read_page
from logic.state_files import SeriesState, load_state, save_state, state_path

SERIES = parse_series("BTCUSDT/1h")
USD_M = parse_series("um:BTCUSDT/1h")  # spot has no earlier contracts
DAY = day_of(parse_time("2024-03-01"))
ROWS = [list(row) for row in generate_series(SERIES, DAY.span)]
CSV = "".join(",".join(map(str, row)) + "\n" for row in ROWS).encode()
STEM = file_stem(SERIES, DAY)
NOW_MS = parse_time("2024-06-01")
HOST = "http://archives.invalid"
LISTING = "http://listing.invalid"

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(["NaN", "-1", "1e9", "0x10", "1_000", "１", "1.5", " 1", "1\n", "\0", "", "Infinity", "9" * 400])
)
JSON_VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@st.composite
def nearly(draw: st.DrawFn, good: bytes) -> bytes:
    """Valid bytes with some cut out, some put in, some altered."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["cut", "insert", "alter", "end"])):
            case "cut":
                del content[at : at + draw(st.integers(1, 40))]
            case "insert":
                content[at:at] = draw(st.binary(max_size=12) | st.sampled_from([b",", b"\n", b"\r", b'"', b"\0", b"-"]))
            case "alter":
                content[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case _:
                del content[at:]
    return bytes(content)


@st.composite
def nearly_a_page(draw: st.DrawFn) -> object:
    rows = [list(row) for row in ROWS[: draw(st.integers(1, 6))]]
    for _ in range(draw(st.integers(0, 3))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        if row:
            row[draw(st.integers(0, len(row) - 1))] = draw(JSON_VALUES)
    if draw(st.booleans()):
        rows[draw(st.integers(0, len(rows) - 1))] = draw(JSON_VALUES)
    return rows


def as_columns(rows: list[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row[ROW_POSITIONS[name]] for name in SCHEMA.names) for row in rows]


def only_own_errors(call: Callable[[], object], *expected: type[Exception]) -> None:
    try:
        call()
    except (FetcherError, *expected):
        return


# REST


@given(body=JSON_VALUES | nearly_a_page())
def test_a_page_of_any_json_is_refused_or_read_digit_for_digit(body: Any) -> None:
    content = orjson.dumps(body, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    try:
        batch = read_page(read_json(content), DAY.span, 24)
    except FetcherError:
        return
    left_out = {one.open_ms for one in batch.unusable}
    rows = [row for row in as_columns(body) if row[0] not in left_out]
    assert [tuple(one.values()) for one in batch.columns.to_pylist()] == rows


@given(content=st.binary(max_size=200) | nearly(orjson.dumps(ROWS[:3])))
@example(content=b"[" * 5000)
@example(content=b'{"a":' * 1000 + b"1" + b"}" * 1000)
@example(content=b"\xef\xbb\xbf[]")
@example(content=b'["\\ud800"]')
@example(content=b"[1e999]")
def test_any_bytes_are_json_or_an_unusable_answer(content: bytes) -> None:
    only_own_errors(lambda: read_page(read_json(content), DAY.span, 24))


@pytest.mark.parametrize("content", [b"[" * 1001 + b"]" * 1001, b"[" + b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"]"])
def test_a_deeply_nested_page_is_refused(content: bytes) -> None:
    with pytest.raises(FetcherError):
        read_page(read_json(content), DAY.span, 24)


# Archives


def zip_of(csv: bytes, name: str = f"{STEM}.csv") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, csv)
    return packed.getvalue()


def read_zip(folder: Path, content: bytes) -> list[tuple[Any, ...]]:
    path = folder / "one.zip"
    path.write_bytes(content)
    return [tuple(one.values()) for one in read_archive(path, SERIES, DAY).columns.to_pylist()]


def test_the_archive_that_the_damage_starts_from_is_read(tmp_path: Path) -> None:
    assert read_zip(tmp_path, zip_of(CSV)) == as_columns(ROWS)


@given(
    csv=nearly(CSV) | st.binary(max_size=100) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_csv_in_an_archive_is_refused_or_holds_candles_of_its_day(tmp_path: Path, csv: bytes) -> None:
    try:
        rows = read_zip(tmp_path, zip_of(csv))
    except FetcherError:
        return
    times = [row[0] for row in rows]
    assert times == sorted(set(times))
    assert all(DAY.span.start_ms <= time < DAY.span.end_ms for time in times)


@given(content=nearly(zip_of(CSV)) | st.binary(max_size=300) | nearly(zip_of(b"")))
@example(content=zip_of(CSV, "../../etc/x"))
@example(content=zip_of(CSV, "/etc/x.csv"))
@example(content=zip_of(CSV, "x" * 60_000))
def test_any_bytes_taken_for_a_zip_are_refused_or_the_right_candles(tmp_path: Path, content: bytes) -> None:
    try:
        rows = read_zip(tmp_path, content)
    except FetcherError as error:
        assert len(str(error)) < 2_000
        return
    assert rows in (as_columns(ROWS), [])
    assert [path.name for path in tmp_path.iterdir()] == ["one.zip"]


def test_a_member_packed_by_lzma_that_is_damaged_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(f"{STEM}.csv", CSV)
    content = bytearray(packed.getvalue())
    start = content.index(b".csv") + 40
    content[start : start + 60] = b"\xff" * 60
    with pytest.raises(FetcherError):
        read_zip(tmp_path, bytes(content))


class Canned(BaseAdapter):
    """Answers every request with the same bytes."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response.url = request.url or ""
        response.raw = urllib3.HTTPResponse(io.BytesIO(self.content), status=200, preload_content=False)
        response.request = request
        return response

    def close(self) -> None:
        pass


def client_told(content: bytes, folder: Path) -> ArchiveClient:
    client = ArchiveClient(HOST, LISTING, folder / "downloads", connections=1, sleep=lambda seconds: None)
    for address, session in client._sessions.items():
        session.mount(f"{address}/", Canned(content))
    return client


CHECKSUM = f"{'0f' * 32}  {STEM}.zip\n".encode()


def test_the_checksum_that_the_damage_starts_from_is_read(tmp_path: Path) -> None:
    assert client_told(CHECKSUM, tmp_path).published_checksum(SERIES, DAY) == "0f" * 32


@given(content=nearly(CHECKSUM) | st.binary(max_size=120))
def test_any_checksum_file_is_refused_or_names_a_sha256(tmp_path: Path, content: bytes) -> None:
    try:
        found = client_told(content, tmp_path).published_checksum(SERIES, DAY)
    except FetcherError as error:
        assert len(str(error)) < 1_000
        return
    assert len(found) == 64 and set(found) <= set("0123456789abcdef")


NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
BUCKET = (
    f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="{NAMESPACE}"><Name>data</Name>'
    f"<IsTruncated>false</IsTruncated><Contents><Key>data/spot/daily/klines/BTCUSDT/1h/{STEM}.zip</Key></Contents>"
    "<CommonPrefixes><Prefix>data/spot/monthly/klines/BTCUSDTSETTLED/</Prefix></CommonPrefixes></ListBucketResult>"
).encode()
BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(8))
    + b']><ListBucketResult xmlns="%s"><Contents><Key>&i;</Key></Contents></ListBucketResult>' % NAMESPACE.encode()
)


def list_days(content: bytes, folder: Path) -> object:
    return client_told(content, folder).list_published(SERIES, DAY.span)


def test_the_listing_that_the_damage_starts_from_is_read(tmp_path: Path) -> None:
    assert client_told(BUCKET, tmp_path).list_published(SERIES, DAY.span).has(DAY)
    assert client_told(BUCKET, tmp_path).list_earlier_contracts(USD_M) == ["BTCUSDTSETTLED"]


@given(content=nearly(BUCKET) | st.binary(max_size=200))
@example(content=BOMB)
@example(content=b"<a>" * 50_000)
@example(content=BUCKET.replace(b"<IsTruncated>false", b"<IsTruncated>true"))
@example(content=BUCKET.replace(b"UTF-8", b"UTF-16"))
@example(content=b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + BUCKET.replace(b"data<", b"&a;<"))
def test_any_listing_is_refused_or_read(tmp_path: Path, content: bytes) -> None:
    only_own_errors(lambda: list_days(content, tmp_path))
    only_own_errors(lambda: client_told(content, tmp_path).list_earlier_contracts(USD_M))


# symbols.yml


def load_symbols_text(folder: Path, text: str | bytes) -> object:
    path = folder / "symbols.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return load_symbols_file(path, "1m", None, None)


GOOD_YAML = b"""defaults: {market: spot, interval: 1m, start: 2023-01-01}
symbols:
  - BTCUSDT
  - "*USDT/1d"
  - {symbol: um:ETHUSDT, intervals: [5m, 1h], end: 2024-01-01T10:00, active: false}
exclude: ["*UPUSDT"]
"""
# Explicit core tags are left to the cases below, which are known not to be refused as they should.
NO_TAG = st.text(st.characters(exclude_characters="!", exclude_categories=["Cs"]), max_size=80)


def test_the_file_that_the_damage_starts_from_is_read(tmp_path: Path) -> None:
    assert load_symbols_text(tmp_path, GOOD_YAML)


@given(text=nearly(GOOD_YAML).map(lambda text: text.replace(b"!", b"?")) | NO_TAG)
@example(text="symbols: " + "[" * 3000)
@example(text="&a [*a]")
@example(text="symbols: &a [{symbol: *a}]")
@example(text="? [a]\n: b")
@example(text="symbols: [{symbol: BTCUSDT, start: 0001-01-01 00:00:00+14:00}]")
@example(text="symbols: [" + "9" * 5000 + "]")
@example(text="symbols: [=]")
@example(text="\0")
def test_any_symbols_file_is_read_or_a_configuration_error(tmp_path: Path, text: str | bytes) -> None:
    only_own_errors(lambda: load_symbols_text(tmp_path, text))


@given(document=JSON_VALUES | st.fixed_dictionaries({"symbols": JSON_VALUES, "defaults": JSON_VALUES}))
def test_any_document_in_a_symbols_file_is_read_or_a_configuration_error(tmp_path: Path, document: object) -> None:
    only_own_errors(lambda: load_symbols_text(tmp_path, yaml.safe_dump(document, allow_unicode=False)))


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!python/object/new:pathlib.Path", "!own"]
)
def test_a_tag_in_a_symbols_file_runs_nothing(tmp_path: Path, tag: str) -> None:
    victim = tmp_path / "made"
    with pytest.raises(ConfigurationError, match="not valid YAML"):
        load_symbols_text(tmp_path, f"symbols: [{tag} ['touch {victim}']]\n")
    assert not victim.exists()


@pytest.mark.parametrize(
    "node", ["!!map [a]", "!!set [a]", "!!timestamp x", '[!!int ""]', '[!!float ""]', "[!!bool x]"]
)
def test_a_core_tag_on_the_wrong_node_is_a_configuration_error(tmp_path: Path, node: str) -> None:
    with pytest.raises(ConfigurationError):
        load_symbols_text(tmp_path, f"symbols: {node}\n")


def test_aliases_that_multiply_do_not_make_an_enormous_message(tmp_path: Path) -> None:
    levels = "".join(f"  - &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12))
    with pytest.raises(ConfigurationError) as raised:
        load_symbols_text(tmp_path, f"symbols:\n  - &a [x, x, x]\n{levels}" + "defaults: *m\n")
    assert len(str(raised.value)) < 2_000


# Series and times


@given(
    text=st.text(max_size=40)
    | st.builds(
        "{}{}{}{}{}".format,
        st.sampled_from(["", "um:", "cm:", "spot:", "x:", ":"]),
        st.text(max_size=12) | st.sampled_from(["BTCUSDT", "*", "btc?", "币安人生USDT", "ßß", "İ", "ǅ"]),
        st.sampled_from(["", "/", "-", "//", "\n"]),
        st.sampled_from(["", "1m", "1M", "1h", "7m", "1s", "../x"]),
        st.sampled_from(["", " ", "\n", "\0", ";--"]),
    )
)
def test_any_notation_is_a_series_that_prints_and_parses_back_or_an_error(text: str) -> None:
    try:
        series = parse_series(text)
    except ConfigurationError as error:
        assert len(str(error)) < 1_000
        return
    assert parse_series(str(series)) == series
    assert not set("/\\\0\n'\";. ") & set(series.table_name + series.file_stem)
    assert len(series.table_name.encode()) <= 63


@given(
    value=st.text(max_size=40)
    | nearly(b"2023-01-31T14:30:00+02:00").map(lambda value: value.decode("utf-8", "surrogateescape"))
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | JSON_VALUES
)
def test_any_time_is_read_or_a_value_error(value: object) -> None:
    try:
        ms = parse_time(value)
    except ValueError:
        return
    assert parse_time(format_ms(ms)) == ms


# Settings

NAMES = st.sampled_from([setting.name for setting in SETTINGS])
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60) | st.sampled_from(
    ["postgresql://a:b@h/x", "postgresql://", "postgresql://:@", "postgresql://a:%zz@[::1", "1", "0.5", "nan", "-0",
     "http://[", "http://a:99999", "~nobody-at-all", "~", "/", "../../etc/x", "1" * 5000, "2024-01-01", "١", "1_0"]
)  # fmt: skip


@given(environment=st.dictionaries(NAMES, VALUES, max_size=6))
def test_any_environment_is_read_or_a_configuration_error_naming_the_setting(environment: dict[str, str]) -> None:
    try:
        load_settings(environment, None)
    except ConfigurationError as error:
        assert any(name in str(error) for name in environment)


@given(content=st.binary(max_size=100) | nearly(b"PG_HOST=db\nPG_PASSWORD='a b'\nCHUNK_DAYS=3\n"))
@example(content=b"STATE_DIR=a\0b\n")
@example(content=b"PG_PASSWORD='\n\n\n")
@example(content=b"\xff\xfeP\0G\0")
def test_any_env_file_is_read_or_a_configuration_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "env"
    path.write_bytes(content)
    only_own_errors(lambda: load_settings({}, path))


@pytest.mark.parametrize("name", ["PG_PASSWORD", "DATABASE_URL"])
def test_a_password_that_is_not_utf8_is_a_configuration_error_or_taken(name: str) -> None:
    # An old terminal's "pä" in Latin-1, as Python hands bytes of the environment over.
    password = b"p\xe4ss".decode("utf-8", "surrogateescape")
    value = password if name == "PG_PASSWORD" else f"postgresql://me:{password}@host/name"
    only_own_errors(lambda: load_settings({name: value}, None))


# State and ban files

STATE = SeriesState(
    listing_ms=1, covered_until_ms=2, last_candle_ms=3, last_run_id="r", last_run_ms=4, last_result="ok"
)


@given(data=st.data())
def test_any_state_file_is_a_state_or_nothing(tmp_path: Path, data: st.DataObject) -> None:
    save_state(tmp_path, SERIES, STATE)
    path = state_path(tmp_path, SERIES)
    good = json.loads(path.read_text())
    shaped = st.fixed_dictionaries({"state": st.dictionaries(st.sampled_from(list(good["state"])), JSON_VALUES)})
    content = data.draw(
        nearly(path.read_bytes())
        | st.binary(max_size=100)
        | JSON_VALUES.map(orjson.dumps)
        | shaped.map(lambda part: orjson.dumps({**good, **part}))
    )
    path.write_bytes(content)
    state = load_state(tmp_path, SERIES)
    assert state is None or isinstance(state, SeriesState)


def test_the_state_that_the_damage_starts_from_is_read(tmp_path: Path) -> None:
    save_state(tmp_path, SERIES, STATE)
    assert load_state(tmp_path, SERIES) == STATE


@given(
    content=st.binary(max_size=100)
    | JSON_VALUES.map(orjson.dumps)
    | nearly(b'{"spot": {"until_ms": 1717200000000, "for_ms": 120000, "exchange_until_ms": null}}')
    | st.dictionaries(
        st.sampled_from(["spot", "futures"]),
        st.fixed_dictionaries(dict.fromkeys(("until_ms", "for_ms", "exchange_until_ms"), SCALARS)),
    ).map(orjson.dumps)
    | st.dictionaries(st.sampled_from(["spot", "futures"]), SCALARS).map(orjson.dumps)
)
@example(content=b'{"spot": 1e400}')
@example(content=b'{"spot": NaN}')
@example(content=b'{"spot": 1' + b"0" * 5000 + b"}")
def test_any_ban_file_is_a_ban_or_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bans.json"
    path.write_bytes(content)
    bans = BanFile(path, lambda: NOW_MS)
    only_own_errors(lambda: bans.refuse_while_banned("spot"))
    until_ms = bans.record("spot", MS_PER_DAY)
    assert until_ms >= NOW_MS + MS_PER_DAY
    with pytest.raises(ExchangeBanned):
        BanFile(path, lambda: NOW_MS).refuse_while_banned("spot")


@pytest.mark.parametrize("kind", ["state", "ban"])
def test_a_deeply_nested_state_or_ban_file_is_ignored(tmp_path: Path, kind: str) -> None:
    path = state_path(tmp_path, SERIES)
    path.write_text("[" * 100_000)
    if kind == "state":
        assert load_state(tmp_path, SERIES) is None
    else:
        BanFile(path, lambda: NOW_MS).refuse_while_banned("spot")


def test_the_day_has_a_candle_for_every_hour() -> None:
    assert len(ROWS) == 24 and Span(ROWS[0][0], ROWS[-1][0] + 1).start_ms == DAY.span.start_ms
