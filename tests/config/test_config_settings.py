"""Settings: where they come from, what is refused, and that no secret is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import PROJECT_ROOT, SETTINGS, Settings, load_settings
from core.errors import ConfigurationError
from core.times import parse_time
from core.timescale import TimescaleUse

INTERVALS = "1s, 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d, 3d, 1w, 1M"
URL = "an http:// or https:// address"
AWKWARD_PASSWORDS = ["hunter2", "p%ss", "p@ss", "p:ss", "p/ss", "p#ss", "p ss", "p?ss", "pä$$", "%41@:/%"]


def settings(**environment: str) -> Settings:
    return load_settings(environment, env_file=None)


def refusal(**environment: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        settings(**environment)
    return str(refused.value)


@pytest.fixture
def env_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / ".env"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_defaults() -> None:
    found = settings()
    assert found.database is None  # the embedded server
    assert found.embedded_pg_dir == PROJECT_ROOT / "pgdata"
    assert found.api_urls == {
        "spot": "https://data-api.binance.vision",
        "um": "https://fapi.binance.com",
        "cm": "https://dapi.binance.com",
    }
    assert found.archive_url == "https://data.binance.vision"
    assert found.archive_list_url == "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
    assert (found.weight_share, found.chunk_days, found.fetch_workers) == (0.8, 1, 8)
    assert (found.default_interval, found.default_limit) == ("1m", None)
    assert (found.start_ms, found.end_ms) == (None, None)
    assert found.symbols_file == PROJECT_ROOT / "symbols.yml"
    assert (found.state_dir, found.log_dir) == (PROJECT_ROOT / "state", PROJECT_ROOT / "logs")
    assert (found.log_level, found.compress_after_days) == ("INFO", 90)
    assert found.timescale is TimescaleUse.AUTO
    assert found.secrets == ()


def test_every_setting_has_a_meaning_and_a_default_that_can_be_read() -> None:
    for setting in SETTINGS:
        assert setting.meaning
        assert not setting.default or setting.read(setting.default) is not None
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


def test_values_come_from_the_env_file(env_file: Callable[[str], Path]) -> None:
    found = load_settings({}, env_file("CHUNK_DAYS=7\n# a comment\nLOG_LEVEL='DEBUG'\nexport FETCH_WORKERS=2\n"))
    assert (found.chunk_days, found.log_level, found.fetch_workers) == (7, "DEBUG", 2)


def test_the_environment_wins_over_the_env_file(env_file: Callable[[str], Path]) -> None:
    path = env_file("CHUNK_DAYS=7\nLOG_LEVEL=DEBUG\n")
    found = load_settings({"CHUNK_DAYS": "3"}, path)
    assert (found.chunk_days, found.log_level) == (3, "DEBUG")


def test_an_empty_value_in_the_environment_hides_that_of_the_env_file(env_file: Callable[[str], Path]) -> None:
    found = load_settings({"CHUNK_DAYS": "", "PG_HOST": " "}, env_file("CHUNK_DAYS=7\nPG_HOST=db\n"))
    assert (found.chunk_days, found.database) == (1, None)


def test_windows_line_ends_and_a_byte_order_mark_in_the_env_file_are_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"\xef\xbb\xbfCHUNK_DAYS=7\r\nFETCH_WORKERS=2\r\n")
    found = load_settings({}, path)
    assert (found.chunk_days, found.fetch_workers) == (7, 2)


def test_a_missing_env_file_is_no_mistake(tmp_path: Path) -> None:
    assert load_settings({}, tmp_path / ".env") == settings()


def test_other_variables_are_left_alone(env_file: Callable[[str], Path]) -> None:
    assert load_settings({"HOME": "/home/me", "PGPASSWORD": "x"}, env_file("COLOUR=blue\n")) == settings()


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_value_counts_as_not_set(name: str, empty: str, env_file: Callable[[str], Path]) -> None:
    assert settings(**{name: empty}) == settings()
    assert load_settings({}, env_file(f"{name}={empty}\n")) == settings()
    assert load_settings({}, env_file(f"{name}\n")) == settings()


def test_dollar_signs_in_the_env_file_are_only_dollar_signs(env_file: Callable[[str], Path]) -> None:
    found = load_settings({"HOME": "/home/me"}, env_file("PG_HOST=db\nPG_PASSWORD=a${HOME}$b\n"))
    assert found.database is not None
    assert found.database.keywords["password"] == "a${HOME}$b"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PG_PORT", "0", "a whole number from 1 to 65535"),
        ("PG_PORT", "65536", "a whole number from 1 to 65535"),
        ("PG_PORT", "default", "a whole number from 1 to 65535"),
        ("BINANCE_API_URL", "data-api.binance.vision", URL),
        ("BINANCE_UM_API_URL", "ftp://fapi.binance.com", URL),
        ("BINANCE_CM_API_URL", "https://", URL),
        ("BINANCE_ARCHIVE_URL", "file:///tmp", URL),
        ("BINANCE_ARCHIVE_LIST_URL", "//host", URL),
        ("BINANCE_WEIGHT_SHARE", "0", "a number above 0 and at most 1"),
        ("BINANCE_WEIGHT_SHARE", "1.01", "a number above 0 and at most 1"),
        ("BINANCE_WEIGHT_SHARE", "80%", "a number above 0 and at most 1"),
        ("BINANCE_WEIGHT_SHARE", "nan", "a number above 0 and at most 1"),
        ("DEFAULT_INTERVAL", "1H", f"one of {INTERVALS}"),
        ("DEFAULT_INTERVAL", "60", f"one of {INTERVALS}"),
        ("DEFAULT_LIMIT", "0", "a whole number from 1 to 1500"),
        ("DEFAULT_LIMIT", "1501", "a whole number from 1 to 1500"),
        ("CHUNK_DAYS", "-1", "a whole number from 1 to 31"),
        ("CHUNK_DAYS", "1.5", "a whole number from 1 to 31"),
        ("CHUNK_DAYS", "32", "a whole number from 1 to 31"),
        ("FETCH_WORKERS", "33", "a whole number from 1 to 32"),
        ("FETCH_WORKERS", "9" * 20, "a whole number from 1 to 32"),
        ("START_DATE", "2023-02-29", "an ISO date or time, UTC, such as 2023-01-31 or 2023-01-31T14:30"),
        ("START_DATE", "1504224000", "an ISO date or time, UTC, such as 2023-01-31 or 2023-01-31T14:30"),
        ("END_DATE", "now", "an ISO date or time, UTC, such as 2023-01-31 or 2023-01-31T14:30"),
        ("LOG_LEVEL", "info", "one of DEBUG, INFO, WARNING, ERROR"),
        ("TIMESCALE", "yes", "one of auto, on, off"),
        ("TIMESCALE_COMPRESS_AFTER_DAYS", "-1", "a whole number from 0 to 36500"),
    ],
)
def test_a_wrong_value_is_named_with_its_setting_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    assert refusal(**{name: value}).startswith(f"setting {name}={value!r}: expected {allowed}")


def test_a_date_outside_the_possible_years_is_told_the_limits() -> None:
    assert "1999-01-01 is outside 2009-01-01 .. 2100-01-01" in refusal(START_DATE="1999-01-01")


def test_a_wrong_value_in_the_env_file_is_named_too(env_file: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigurationError, match="setting CHUNK_DAYS='many': expected a whole number from 1 to 31"):
        load_settings({}, env_file("CHUNK_DAYS=many\n"))


@pytest.mark.parametrize(
    ("name", "value", "attribute", "read"),
    [
        ("BINANCE_WEIGHT_SHARE", "1", "weight_share", 1.0),
        ("BINANCE_WEIGHT_SHARE", " 0.05 ", "weight_share", 0.05),
        ("CHUNK_DAYS", "31", "chunk_days", 31),
        ("DEFAULT_LIMIT", "1500", "default_limit", 1500),
        ("DEFAULT_INTERVAL", "1M", "default_interval", "1M"),
        ("TIMESCALE", "off", "timescale", TimescaleUse.OFF),
        ("TIMESCALE_COMPRESS_AFTER_DAYS", "0", "compress_after_days", 0),
        ("BINANCE_ARCHIVE_URL", "http://127.0.0.1:8080/", "archive_url", "http://127.0.0.1:8080"),
        ("START_DATE", "2017-08-17T04:00", "start_ms", 1502942400000),
        ("END_DATE", "2024-01-01", "end_ms", 1704067200000),
    ],
)
def test_the_bounds_themselves_are_accepted(name: str, value: str, attribute: str, read: object) -> None:
    assert getattr(settings(**{name: value}), attribute) == read


@pytest.mark.parametrize("end", ["2023-01-01", "2022-12-31"])
def test_an_end_that_is_not_after_the_start_is_refused(end: str) -> None:
    assert refusal(START_DATE="2023-01-01", END_DATE=end).startswith("END_DATE")
    assert settings(START_DATE="2023-01-01", END_DATE="2023-01-02").end_ms == parse_time("2023-01-02")


def test_relative_paths_are_against_the_project_wherever_the_run_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = settings(STATE_DIR="elsewhere/state", LOG_DIR="../logs", SYMBOLS_FILE="./symbols.yml")
    assert found.state_dir == PROJECT_ROOT / "elsewhere" / "state"
    assert found.log_dir == PROJECT_ROOT.parent / "logs"
    assert found.symbols_file == PROJECT_ROOT / "symbols.yml"


def test_absolute_paths_and_the_home_folder_are_taken_as_they_are(tmp_path: Path) -> None:
    assert settings(STATE_DIR=str(tmp_path)).state_dir == tmp_path.resolve()
    assert settings(EMBEDDED_PG_DIR="~/pg").embedded_pg_dir == (Path.home() / "pg").resolve()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_url_is_taken_as_it_is(scheme: str) -> None:
    url = f"{scheme}://user:password@host:5432/name?sslmode=require"
    database = settings(DATABASE_URL=url).database
    assert database is not None
    assert (database.url, database.keywords) == (url, {})


def test_a_database_url_wins_over_its_parts() -> None:
    database = settings(DATABASE_URL="postgresql://host/name", PG_HOST="other").database
    assert database is not None
    assert (database.url, database.keywords) == ("postgresql://host/name", {})


def test_the_parts_of_a_database_address_become_libpq_keywords() -> None:
    database = settings(
        PG_HOST="db.example", PG_PORT="5433", PG_DATABASE="candles", PG_USER="me", PG_PASSWORD="p@:/%"
    ).database
    assert database is not None
    assert database.url is None
    assert database.keywords == {
        "host": "db.example",
        "port": "5433",
        "dbname": "candles",
        "user": "me",
        "password": "p@:/%",
    }


def test_host_and_port_have_the_usual_defaults() -> None:
    database = settings(PG_DATABASE="candles").database
    assert database is not None
    assert database.keywords == {"host": "localhost", "port": "5432", "dbname": "candles"}


@pytest.mark.parametrize("url", ["mysql://u:hunter2@host/db", "u:hunter2@host/db", "host=h password=hunter2"])
def test_a_database_url_of_another_kind_is_refused_without_showing_it(url: str) -> None:
    message = refusal(DATABASE_URL=url)
    assert message == "setting DATABASE_URL: expected postgresql://user:password@host:5432/name"


def shown(found: Settings) -> str:
    return f"{found!r} {found!s} {found.database!r} {found.database!s}"


@pytest.mark.parametrize("password", AWKWARD_PASSWORDS)
def test_no_password_is_in_the_text_of_the_settings(password: str) -> None:
    encoded = quote(password, safe="")
    for found in (
        settings(PG_HOST="db", PG_PASSWORD=password),
        settings(DATABASE_URL=f"postgresql://user:{encoded}@host/name"),
        settings(DATABASE_URL=f"postgresql://user:{password}@host/name"),
        settings(DATABASE_URL=f"postgresql://host/name?user=me&password={encoded}"),
    ):
        assert password not in shown(found)
        assert encoded not in shown(found)


@pytest.mark.parametrize("password", AWKWARD_PASSWORDS)
def test_messages_can_be_cleared_of_a_password_in_every_spelling(password: str) -> None:
    encoded = quote(password, safe="")
    assert {password, encoded} <= set(settings(PG_PASSWORD=password).secrets)
    url = f"postgresql://user:{encoded}@host:5432/name"
    assert {password, encoded, url} <= set(settings(DATABASE_URL=url).secrets)


def test_a_longer_secret_is_cleared_before_one_that_it_holds() -> None:
    lengths = [len(secret) for secret in settings(DATABASE_URL="postgresql://u:p%40ss@host/name").secrets]
    assert lengths == sorted(lengths, reverse=True)


def test_an_address_without_a_password_clears_no_single_letters_of_messages() -> None:
    assert all(len(secret) > 10 for secret in settings(DATABASE_URL="postgresql://user@host/name").secrets)


@pytest.mark.parametrize("password", AWKWARD_PASSWORDS)
@pytest.mark.parametrize("wrong", [("CHUNK_DAYS", "many"), ("PG_PORT", "none"), ("END_DATE", "2001-01-01")])
def test_no_error_message_shows_a_password(password: str, wrong: tuple[str, str]) -> None:
    name, value = wrong
    environment = {"START_DATE": "2023-01-01", "PG_PASSWORD": password, name: value}
    environment["DATABASE_URL"] = f"mysql://u:{password}@h/n"
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environment, env_file=None)
    causes = f"{refused.value} {refused.value.__cause__} {refused.value.__context__}"
    assert password not in causes
    assert quote(password, safe="") not in causes


@given(
    st.dictionaries(st.sampled_from([s.name for s in SETTINGS if not s.name.endswith(("_DIR", "_FILE"))]), st.text())
)
def test_any_text_is_a_setting_or_a_configuration_error(environment: dict[str, str]) -> None:
    try:
        found = load_settings(environment, env_file=None)
    except ConfigurationError:
        return
    assert found.chunk_days in range(1, 32)
    assert 0 < found.weight_share <= 1
    assert all(found.api_urls.values())


def test_the_test_network_has_addresses_of_its_own_and_no_archives() -> None:
    found = load_settings({"BINANCE_TESTNET": "true"}, None)
    assert found.is_testnet
    assert found.archive_url is None
    real = load_settings({}, None)
    assert not real.is_testnet
    for market in ("spot", "um", "cm"):
        assert found.api_urls[market] != real.api_urls[market]
        assert found.streams.urls[market] != real.streams.urls[market]


@pytest.mark.parametrize("name", ["BINANCE_API_URL", "BINANCE_CM_STREAM_URL", "BINANCE_ARCHIVE_URL"])
def test_the_test_network_and_an_address_by_hand_exclude_each_other(name: str) -> None:
    scheme = "wss" if "STREAM" in name else "https"
    with pytest.raises(ConfigurationError, match=name):
        load_settings({"BINANCE_TESTNET": "true", name: f"{scheme}://example.org"}, None)
