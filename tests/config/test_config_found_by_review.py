"""Mistakes that once ended in a traceback, or were taken silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import load_settings
from config.symbols import load_symbols_file
from core.errors import ConfigurationError


def load_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "symbols.yml"
    path.write_text(text, encoding="utf-8")
    load_symbols_file(path, "1m", None, None)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("symbols: [{symbol: BTCUSDT, start: 2023-02-30}]", "day"),
        ("symbols: [{symbol: BTCUSDT, start: 2023-02-20T25:00:00}]", "hour must be"),
        ("[" * 3000, "not valid YAML"),
        ("symbols: [A]\nsymbols: [B]", "key 'symbols' is written twice"),
        ("symbols: [{symbol: A, symbol: B}]", "key 'symbol' is written twice"),
        ('symbols: [{symbol: "um:A", market: cm}]', "already names the market um"),
        ("defaults: false\nsymbols: [A]", "expected a mapping"),
        ("exclude: 0\nsymbols: [A]", "expected a list"),
        ("symbols: [A, A]", "symbols.yml, symbols: series A/1m is listed twice"),
    ],
)
def test_a_mistake_in_symbols_yml_is_a_configuration_error(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        load_text(tmp_path, text)


def test_an_env_file_that_is_not_utf8_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"PG_PASSWORD=p\xe4ssw\n")
    with pytest.raises(ConfigurationError, match="cannot be read as UTF-8"):
        load_settings({}, path)


@pytest.mark.parametrize("name", ["STATE_DIR", "SYMBOLS_FILE", "EMBEDDED_PG_DIR"])
def test_a_home_folder_of_nobody_is_a_configuration_error(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"setting {name}='~nosuchuser/x': expected a path"):
        load_settings({name: "~nosuchuser/x"}, None)


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("postgresql://u:hun/ter2@h/d", ["hun/ter2", "hun", "ter2"]),
        ("postgresql://u:hun@ter2@h/d", ["hun@ter2", "ter2"]),
        ("postgresql://u:hun?ter2@h/d", ["hun?ter2"]),
        ("postgresql://h/d?user=u&password=hunter2", ["hunter2"]),
        ("postgresql://u:p%40ss%2Fword@h/d", ["p%40ss%2Fword", "p@ss/word"]),
    ],
)
def test_a_password_is_hidden_however_the_address_is_read(url: str, hidden: list[str]) -> None:
    assert set(hidden) <= set(load_settings({"DATABASE_URL": url}, None).secrets)


def test_blanks_belong_to_a_password(tmp_path: Path) -> None:
    database = load_settings({"PG_HOST": " db ", "PG_PASSWORD": " a b "}, None).database
    assert database is not None
    assert (database.keywords["host"], database.keywords["password"]) == ("db", " a b ")


def test_a_port_alone_means_a_server_of_ones_own() -> None:
    database = load_settings({"PG_PORT": "5433"}, None).database
    assert database is not None
    assert dict(database.keywords) == {"host": "localhost", "port": "5433"}


@pytest.mark.parametrize("url", ["http://host:99999/", "http://:80", "http://[::1", "https://a b"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected an http:// or https:// address"):
        load_settings({"BINANCE_API_URL": url}, None)
