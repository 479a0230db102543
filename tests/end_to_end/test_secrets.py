"""A database password is in no output, no log and no state file, however it is given and whatever goes wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import psycopg2
import pytest
from program import Program

from db.embedded import EmbeddedServer
from demo.server import ReplayExchange

PASSWORD = "p@ss/w:rd%#?&+ä Geheim"
ROLE = "keeper_of_secrets"
RANGE = ("--symbols", "BTCUSDT", "--start", "2025-01-09T10:00", "--end", "2025-01-09T11:00")


def spellings(password: str) -> set[str]:
    encoded = {quote(password), quote(password, safe=""), quote_plus(password)}
    twice = {quote(one, safe="") for one in encoded}
    every = {password, *encoded, *twice}
    # As JSON and Python's repr write it, and what follows the last character that an address could be cut at.
    escaped = {password.encode("ascii", "backslashreplace").decode(), repr(password)[1:-1], "Geheim"}
    return every | {one.lower() for one in every} | escaped | {one.replace("%C3%A4", "%c3%a4") for one in every}


@pytest.fixture(autouse=True)
def role(pg_server: EmbeddedServer) -> Iterator[str]:
    """A superuser (the tests' template has an owner) with a password of every awkward character.

    For every test, so that it is made before the test's database and dropped after it, with what it owns there.
    """
    admin = psycopg2.connect(**pg_server.keywords("postgres"))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"drop role if exists {ROLE}")
        cursor.execute(f"create role {ROLE} login superuser password %s", (PASSWORD,))
        yield ROLE
        cursor.execute(f"drop role {ROLE}")
    admin.close()


def place(program: Program) -> tuple[str, str]:
    """Return the folder of the server's socket and the database's name."""
    name, _, host = program.environment["DATABASE_URL"].split("@/")[1].partition("?host=")
    return host, name


def give_as_url(program: Program, *, user: str = ROLE, encode: str = "quote") -> None:
    host, name = place(program)
    secret = {"quote": quote(PASSWORD, safe=""), "lower": quote(PASSWORD, safe="").lower()}[encode]
    program.settings = {"DATABASE_URL": f"postgresql://{user}:{secret}@/{name}?host={host}"}


def give_as_query(program: Program) -> None:
    host, name = place(program)
    program.settings = {
        "DATABASE_URL": f"postgresql:///{name}?host={host}&user={ROLE}&password={quote(PASSWORD, safe='')}"
    }


def give_in_parts(program: Program, **other: str) -> None:
    host, name = place(program)
    parts = {"PG_HOST": host, "PG_DATABASE": name, "PG_USER": ROLE, "PG_PASSWORD": PASSWORD}
    program.settings = {"DATABASE_URL": "", **parts, **other}


WAYS = {
    "address": give_as_url,
    "address in lower case": lambda program: give_as_url(program, encode="lower"),
    "query": give_as_query,
    "parts": give_in_parts,
}


def assert_silent(program: Program, done: subprocess.CompletedProcess[str]) -> None:
    texts = {"stdout": done.stdout, "stderr": done.stderr}
    for folder in ("logs", "state"):
        for path in (program.folder / folder).rglob("*"):
            if path.is_file():
                texts[path.name] = path.read_text(encoding="utf-8")
    for where, text in texts.items():
        assert not [one for one in spellings(PASSWORD) if one in text], (where, done.args)


RUNS = [
    (["backfill", *RANGE, "--verbose"], 0),
    (["backfill", *RANGE, "--json"], 0),
    (["backfill", *RANGE, "--dry-run"], 0),
    (["check", "--verbose"], 0),
    (["check", "--json"], 0),
    (["check", "--heal", "--verbose"], 0),
    (["verify", "--verbose"], 0),
    (["verify", "--repair", "--json"], 0),
    (["status", "--verbose"], 0),
    (["status", "--json"], 0),
]


@pytest.mark.parametrize("way", list(WAYS))
def test_runs_that_do_well_keep_the_password_to_themselves(
    program: Program, exchange: ReplayExchange, way: str
) -> None:
    WAYS[way](program)
    program.settings["LOG_LEVEL"] = "DEBUG"
    for arguments, exit_code in RUNS if way in ("address", "parts") else RUNS[:1] + RUNS[-2:-1]:
        done = program.run(*arguments)
        assert done.returncode == exit_code, done.stderr
        assert_silent(program, done)
    assert (program.folder / "logs" / "ohlcv_backfill.log").stat().st_size > 0


def test_the_password_is_not_kept_in_the_database(program: Program, exchange: ReplayExchange) -> None:
    give_as_url(program)
    assert program.run(*RANGE).returncode == 0
    program.query("delete from public.ohlcv_btcusdt where time = '2025-01-09 10:30Z'")
    tables = program.query("select quote_ident(tablename) from pg_tables where schemaname = 'public'")
    for (table,) in tables:
        assert not [row for (row,) in program.query(f"select one::text from public.{table} one") if "Geheim" in row]


SECRET = quote(PASSWORD, safe="")
WRONG_ADDRESSES = {
    "host": (f"postgresql://me:{SECRET}@no-such-host.invalid/x", 6),
    "port": (f"postgresql://me:{SECRET}@127.0.0.1:1/x", 6),
    "port that is none": (f"postgresql://me:{SECRET}@127.0.0.1:99999/x", 6),
    "port of letters": (f"postgresql://me:{SECRET}@127.0.0.1:abc/x", 6),
    "option": (f"postgresql://me:{SECRET}@127.0.0.1:1/x?bogus=1", 6),
    "not encoded": (f"postgresql://me:{PASSWORD}@127.0.0.1:1/x", 6),
    "half an escape": (f"postgresql://me:Geheim%zz{SECRET}@127.0.0.1:1/x", 6),
    "bracket": (f"postgresql://me:{SECRET}@[::1:1/x", 6),
    "user alone": (f"postgresql://me:{SECRET}@", 6),
    "as the query": (f"postgresql://me@127.0.0.1:1/x?password={SECRET}&sslmode=nonsense", 6),
    "scheme": (f"mysql://me:{SECRET}@127.0.0.1:1/x", 2),
    "keywords": (f"host=127.0.0.1 port=1 user=me password='{PASSWORD}'", 2),
}


@pytest.mark.parametrize("wrong", list(WRONG_ADDRESSES))
def test_a_wrong_address_is_told_without_its_password(program: Program, wrong: str) -> None:
    address, exit_code = WRONG_ADDRESSES[wrong]
    program.settings = {"DATABASE_URL": address}
    for arguments in (["--symbols", "BTCUSDT", "--verbose"], ["check", "--json"], ["verify"]):
        done = program.run(*arguments)
        assert done.returncode == exit_code, done.stderr
        assert "Traceback" not in done.stderr
        assert_silent(program, done)


@pytest.mark.parametrize("address", [f"postgresql://me:{SECRET}", f"postgresql://me:{SECRET}/name"])
def test_an_address_that_breaks_off_after_the_password_is_told_without_it(program: Program, address: str) -> None:
    program.settings = {"DATABASE_URL": address}
    done = program.run("--symbols", "BTCUSDT")
    assert done.returncode == 6, done.stderr
    assert_silent(program, done)


def test_a_wrong_name_of_user_or_database_is_told_without_the_password(program: Program) -> None:
    for wrong in ({"PG_USER": "nobody_known"}, {"PG_DATABASE": "no_such_database"}, {"PG_HOST": "/no/such/folder"}):
        give_in_parts(program, **wrong)
        for arguments in (["--symbols", "BTCUSDT", "--verbose"], ["status", "--json"]):
            done = program.run(*arguments)
            assert done.returncode == 6, done.stderr
            assert_silent(program, done)
    give_as_url(program, user="nobody_known")
    done = program.run("--symbols", "BTCUSDT")
    assert done.returncode == 6
    assert_silent(program, done)


def test_a_password_put_into_the_wrong_setting_is_said_but_only_the_wrong_part(program: Program) -> None:
    """PG_PORT is shown when it is wrong; the password beside it is not."""
    give_in_parts(program, PG_PORT="many")
    done = program.run("--symbols", "BTCUSDT")
    assert done.returncode == 2 and "PG_PORT='many'" in done.stderr
    assert_silent(program, done)


def test_an_unexpected_fault_is_told_without_the_password(
    program: Program, exchange: ReplayExchange, role: str
) -> None:
    broken = program.folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os, requests\n"
        "def get(*a, **k): raise RuntimeError('a bug with ' + os.environ['PG_PASSWORD'] + os.environ['DATABASE_URL'])\n"
        "requests.Session.get = get\n"
    )
    for give in (give_as_url, give_in_parts):
        give(program)
        program.settings |= {"PYTHONPATH": str(broken)}
        done = program.run(*RANGE, "--json")
        assert done.returncode == 1, done.stderr
        assert "a bug with" in done.stderr
        assert_silent(program, done)


@pytest.mark.parametrize(
    "address", ["http://user:s3cr#et@127.0.0.1:9", "user:s3cr/et@127.0.0.1:9", "http://u:s3cr@[::1"]
)
def test_no_part_of_a_proxys_password_is_shown(program: Program, exchange: ReplayExchange, address: str) -> None:
    program.environment |= {"http_proxy": address, "NO_PROXY": "", "no_proxy": ""}
    done = program.run(*RANGE, "--verbose")
    assert done.returncode == 2, done.stderr
    assert "the proxy that the environment names" in done.stderr
    assert "s3cr" not in done.stdout + done.stderr + program.log_text
