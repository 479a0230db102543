"""Reads settings from the environment and `.env` into one frozen object; the environment takes precedence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from dotenv import dotenv_values

from core.errors import ConfigurationError
from core.intervals import INTERVALS
from core.stream_kinds import StreamKind
from core.times import format_ms, parse_time
from core.timescale import TimescaleUse
from core.wanted_streams import parse_kinds

PROJECT_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name, default as text (empty: not set), meaning, and the function that parses it."""

    name: str
    default: str
    meaning: str
    read: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class DatabaseTarget:
    """The user's own database server, as libpq keywords or a URL. Never printed, because it may hold a password."""

    url: str | None = field(default=None, repr=False)
    keywords: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What concerns live streams."""

    urls: Mapping[str, str]  # by market
    max_per_connection: int
    stall_ms: int
    audit_ms: int  # 0: only at the end
    kinds: tuple[StreamKind, ...]  # of what symbols.yml says nothing of
    ticker_ms: int  # how often a ticker is stored
    mark_price_ms: int
    depth: int  # levels of a side of an order book
    depth_ms: int


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, parsed and validated. `database` is None to use the embedded server."""

    database: DatabaseTarget | None
    embedded_pg_dir: Path
    api_urls: Mapping[str, str]  # by market
    archive_url: str | None  # None: there are none, on the test network
    archive_list_url: str | None
    is_testnet: bool
    weight_share: float
    default_interval: str
    default_limit: int | None
    chunk_days: int
    fetch_workers: int
    witness: bool
    streams: StreamSettings
    start_ms: int | None
    end_ms: int | None
    symbols_file: Path
    state_dir: Path
    log_dir: Path
    log_level: str
    timescale: TimescaleUse
    compress_after_days: int
    secrets: tuple[str, ...] = field(default=(), repr=False)  # texts that no message may show


def _text(value: str) -> str:
    return value.strip()


def _password(value: str) -> str:
    return value  # spaces may be part of it


def _address(*schemes: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        expected = f"an {schemes[0]}:// or {schemes[1]}:// address"
        try:
            parts = urlsplit(value)
            usable = parts.scheme in schemes and parts.hostname and parts.port != 0
        except ValueError as error:  # an invalid port or IPv6 address
            raise ValueError(expected) from error
        if not usable or any(character.isspace() for character in value):
            raise ValueError(expected)
        return value.rstrip("/")

    return read


_url = _address("http", "https")
_stream_url = _address("ws", "wss")


def _path(value: str) -> Path:
    # Relative to the project, not the current folder: cron starts in the user's home.
    try:
        path = (PROJECT_ROOT / Path(value).expanduser()).resolve()
        path.exists()  # raises for a path that the system does not allow, such as too long a name
        return path
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(f"a path ({error})") from error


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        expected = f"a whole number from {low} to {high}"
        try:
            number = int(value)
        except ValueError as error:
            raise ValueError(expected) from error
        if not low <= number <= high:
            raise ValueError(expected)
        return number

    return read


def _share(value: str) -> float:
    expected = "a number above 0 and at most 1"
    try:
        number = float(value)
    except ValueError as error:
        raise ValueError(expected) from error
    if not 0 < number <= 1:
        raise ValueError(expected)
    return number


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return value

    return read


def _time(value: str) -> int:
    try:
        return parse_time(value)
    except ValueError as error:
        raise ValueError(f"an ISO date or time, UTC, such as 2023-01-31 or 2023-01-31T14:30 ({error})") from error


SETTINGS = (
    Setting("DATABASE_URL", "", "PostgreSQL or TimescaleDB to use, postgresql://user:password@host:5432/name", _text),
    Setting("PG_HOST", "", "Or its parts, where a URL is unhandy (empty PG_* and DATABASE_URL: embedded)", _text),
    Setting("PG_PORT", "", "Port, 5432 when empty", _whole(1, 65535)),
    Setting("PG_DATABASE", "", "Database name", _text),
    Setting("PG_USER", "", "User name", _text),
    Setting("PG_PASSWORD", "", "Password", _password),
    Setting("EMBEDDED_PG_DIR", "pgdata", "Data folder of the embedded PostgreSQL", _path),
    Setting("BINANCE_API_URL", "https://data-api.binance.vision", "Spot REST; https://api.binance.com works too", _url),
    Setting("BINANCE_UM_API_URL", "https://fapi.binance.com", "USD-M futures REST", _url),
    Setting("BINANCE_CM_API_URL", "https://dapi.binance.com", "COIN-M futures REST", _url),
    Setting("BINANCE_ARCHIVE_URL", "https://data.binance.vision", "Public archives", _url),
    Setting(
        "BINANCE_ARCHIVE_LIST_URL",
        "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision",
        "Listing of the archives' bucket",
        _url,
    ),
    Setting(
        "BINANCE_TESTNET",
        "false",
        "Ask the exchange's test network, made-up prices, instead: true or false",
        _one_of("true", "false"),
    ),
    Setting(
        "BINANCE_WEIGHT_SHARE", "0.8", "Share of the exchange's request-weight budget to use, above 0 to 1", _share
    ),
    Setting("DEFAULT_INTERVAL", "1m", "Interval of series that do not say theirs", _one_of(*INTERVALS)),
    Setting("DEFAULT_LIMIT", "", "Rows of a REST page, 1-1500; empty: most rows per weight", _whole(1, 1500)),
    Setting("CHUNK_DAYS", "1", "Days that one REST chunk holds, rounded up to whole pages, 1-31", _whole(1, 31)),
    Setting("FETCH_WORKERS", "8", "Downloads at the same time, 1-32", _whole(1, 32)),
    Setting("WITNESS", "on", "Hold candles against longer ones of another source, on or off", _one_of("on", "off")),
    Setting(
        "BINANCE_STREAM_URL",
        "wss://data-stream.binance.vision",
        "Spot streams; wss://stream.binance.com:9443 works too",
        _stream_url,
    ),
    Setting(
        "BINANCE_UM_STREAM_URL",
        "wss://fstream.binance.com",
        "USD-M futures streams; /market or /public is added",
        _stream_url,
    ),
    Setting("BINANCE_CM_STREAM_URL", "wss://dstream.binance.com", "COIN-M futures streams", _stream_url),
    Setting("STREAM_MAX_PER_CONNECTION", "200", "Streams of one connection, 1-1024", _whole(1, 1024)),
    Setting(
        "STREAM_STALL_SECONDS",
        "30",
        "So long a connection may deliver nothing before it is replaced, 5-600",
        _whole(5, 600),
    ),
    Setting(
        "STREAM_AUDIT_MINUTES",
        "60",
        "How often streamed candles are held against REST, up to 1440; 0: only at the end",
        _whole(0, 1440),
    ),
    Setting("STREAM_TYPES", "kline", "What `stream` takes: " + ", ".join(StreamKind), parse_kinds),
    Setting("TICKER_SECONDS", "60", "How often a streamed ticker is stored, 1-86400; 1: each", _whole(1, 86400)),
    Setting("MARK_PRICE_SECONDS", "1", "How often a streamed mark price is stored, 1-86400; 1: each", _whole(1, 86400)),
    Setting("DEFAULT_DEPTH", "20", "Levels of an order book a side: 5, 10, 20; depth_full: 1-500", _whole(1, 500)),
    Setting("DEPTH_SNAPSHOT_MS", "1000", "How often a book is stored, 100-3600000; 100: each", _whole(100, 3_600_000)),
    Setting("START_DATE", "", "Start of series that do not say theirs; empty: their listing", _time),
    Setting("END_DATE", "", "End (exclusive); empty: the last closed candle", _time),
    Setting("SYMBOLS_FILE", "symbols.yml", "What to fetch", _path),
    Setting("STATE_DIR", "state", "One small JSON a series; safe to delete", _path),
    Setting("LOG_DIR", "logs", "Rotating run logs", _path),
    Setting("LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR", _one_of("DEBUG", "INFO", "WARNING", "ERROR")),
    Setting(
        "TIMESCALE",
        TimescaleUse.AUTO.value,
        "Make new tables hypertables: auto (where the database has TimescaleDB), on or off",
        _one_of(*(one.value for one in TimescaleUse)),
    ),
    Setting(
        "TIMESCALE_COMPRESS_AFTER_DAYS",
        "90",
        "Age at which TimescaleDB compresses a chunk; 0: never",
        _whole(0, 36500),
    ),
)


def load_settings(environment: Mapping[str, str], env_file: Path | None = PROJECT_ROOT / ".env") -> Settings:
    """Return the settings: from `environment`, else from `env_file`, else the defaults.

    An empty value counts as not set, but an empty value in the environment still overrides the file.
    Raises ConfigurationError, which names the setting, its value (not of secrets) and what is allowed.
    """
    from_file = _read_env_file(env_file)
    values: dict[str, Any] = {}
    by_hand: set[str] = set()
    for setting in SETTINGS:
        given = environment[setting.name] if setting.name in environment else from_file.get(setting.name)
        if given is not None and given.strip():
            by_hand.add(setting.name)
        text = given if given is not None and given.strip() else setting.default
        values[setting.name] = _read(setting, text) if text else None
    if values["BINANCE_TESTNET"] == "true":
        values |= _test_network(by_hand)
    start_ms, end_ms = values["START_DATE"], values["END_DATE"]
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise ConfigurationError(
            f"END_DATE {format_ms(end_ms)} is not after START_DATE {format_ms(start_ms)} (the end is exclusive)"
        )
    return Settings(
        database=_database(values),
        embedded_pg_dir=values["EMBEDDED_PG_DIR"],
        api_urls={
            "spot": values["BINANCE_API_URL"],
            "um": values["BINANCE_UM_API_URL"],
            "cm": values["BINANCE_CM_API_URL"],
        },
        archive_url=values["BINANCE_ARCHIVE_URL"],
        archive_list_url=values["BINANCE_ARCHIVE_LIST_URL"],
        is_testnet=values["BINANCE_TESTNET"] == "true",
        weight_share=values["BINANCE_WEIGHT_SHARE"],
        default_interval=values["DEFAULT_INTERVAL"],
        default_limit=values["DEFAULT_LIMIT"],
        chunk_days=values["CHUNK_DAYS"],
        fetch_workers=values["FETCH_WORKERS"],
        witness=values["WITNESS"] == "on",
        streams=_stream_settings(values),
        start_ms=start_ms,
        end_ms=end_ms,
        symbols_file=values["SYMBOLS_FILE"],
        state_dir=values["STATE_DIR"],
        log_dir=values["LOG_DIR"],
        log_level=values["LOG_LEVEL"],
        timescale=TimescaleUse(values["TIMESCALE"]),
        compress_after_days=values["TIMESCALE_COMPRESS_AFTER_DAYS"],
        secrets=_secrets(values, environment),
    )


_TEST_NETWORK = {
    "BINANCE_API_URL": "https://testnet.binance.vision",
    "BINANCE_UM_API_URL": "https://demo-fapi.binance.com",
    "BINANCE_CM_API_URL": "https://testnet.binancefuture.com",
    "BINANCE_STREAM_URL": "wss://stream.testnet.binance.vision",
    "BINANCE_UM_STREAM_URL": "wss://fstream.binancefuture.com",
    "BINANCE_CM_STREAM_URL": "wss://dstream.binancefuture.com",
}
_ARCHIVES = {"BINANCE_ARCHIVE_URL": None, "BINANCE_ARCHIVE_LIST_URL": None}


def _test_network(by_hand: set[str]) -> dict[str, str | None]:
    """Return the addresses of the test network (docs/binance.md, Markets and addresses), which has no archives."""
    if clashing := sorted(by_hand & (_TEST_NETWORK.keys() | _ARCHIVES.keys())):
        raise ConfigurationError(
            f"BINANCE_TESTNET=true sets all addresses itself, and {', '.join(clashing)} is set by hand too: "
            "leave one of the two out"
        )
    return _TEST_NETWORK | _ARCHIVES


def _read_env_file(path: Path | None) -> Mapping[str, str | None]:
    if path is None or not path.is_file():
        return {}
    try:
        return dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read as UTF-8 text: {type(error).__name__}") from error


def _read(setting: Setting, text: str) -> Any:
    try:
        return setting.read(text if setting.read is _password else text.strip())
    except ValueError as error:
        raise ConfigurationError(f"setting {setting.name}={text!r}: expected {error}") from error


def _stream_settings(values: Mapping[str, Any]) -> StreamSettings:
    return StreamSettings(
        urls={
            "spot": values["BINANCE_STREAM_URL"],
            "um": values["BINANCE_UM_STREAM_URL"],
            "cm": values["BINANCE_CM_STREAM_URL"],
        },
        max_per_connection=values["STREAM_MAX_PER_CONNECTION"],
        stall_ms=values["STREAM_STALL_SECONDS"] * 1000,
        audit_ms=values["STREAM_AUDIT_MINUTES"] * 60_000,
        kinds=values["STREAM_TYPES"],
        ticker_ms=values["TICKER_SECONDS"] * 1000,
        mark_price_ms=values["MARK_PRICE_SECONDS"] * 1000,
        depth=values["DEFAULT_DEPTH"],
        depth_ms=values["DEPTH_SNAPSHOT_MS"],
    )


def _database(values: Mapping[str, Any]) -> DatabaseTarget | None:
    if values["DATABASE_URL"]:
        if not values["DATABASE_URL"].startswith(("postgresql://", "postgres://")):
            raise ConfigurationError("setting DATABASE_URL: expected postgresql://user:password@host:5432/name")
        return DatabaseTarget(url=values["DATABASE_URL"])
    parts = {"host": "PG_HOST", "dbname": "PG_DATABASE", "user": "PG_USER", "password": "PG_PASSWORD"}
    keywords = {keyword: values[name] for keyword, name in parts.items() if values[name]}
    if not keywords and values["PG_PORT"] is None:
        return None
    return DatabaseTarget(keywords={"host": "localhost", "port": str(values["PG_PORT"] or 5432), **keywords})


def _secrets(values: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    found = {values["PG_PASSWORD"] or ""}
    addresses = [value for name, value in environment.items() if name.lower() in _PROXIES and value]
    if values["DATABASE_URL"]:
        found.add(values["DATABASE_URL"])
        addresses.append(values["DATABASE_URL"])
    for address in addresses:
        for password in _passwords_in(address):
            found |= {password, unquote(password)}
            # libpq parses a malformed URL in its own way and may quote a part of the password; so does urllib3.
            found |= {part for part in re.split(r"[/@?#:&]", password) if len(part) >= _SHORTEST_PART}
    found |= {quote(secret, safe="", errors="replace") for secret in found}
    # Longest first, so that no part of a longer secret stays visible.
    return tuple(sorted((secret for secret in found if secret), key=len, reverse=True))


_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_SHORTEST_PART = 3  # hiding shorter parts would hide most of the message


def _passwords_in(url: str) -> set[str]:
    """Return every text in `url` that could be the password; a malformed URL can be parsed in several ways."""
    rest = url.split("://", 1)[-1]
    found = set(re.findall(r"[?&]password=([^&]*)", rest))
    if "@" not in rest:  # libpq takes what follows the colon as a port, and quotes it when it is not a number
        after_colon = rest.split("/")[0].partition(":")[2]
        found |= {after_colon} if after_colon and not after_colon.isdigit() else set()
    for user_info in (rest.partition("@")[0], rest.rpartition("@")[0]):
        if "@" in rest and ":" in user_info:
            found.add(user_info.partition(":")[2])
    return found
