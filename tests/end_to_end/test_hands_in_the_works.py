"""What operators and administrators do to database, state and settings: the right result, or a clear word."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator

import psycopg2
import pytest
from candles import truth_rows
from program import PROJECT, Program
from servers import execute
from small_market import BTC, truth

from core.ranges import Span
from core.series import parse_series
from core.times import MS_PER_DAY, parse_time
from db.embedded import EmbeddedServer
from demo.generated_market import generate_series
from demo.server import ReplayExchange

START, MIDDLE = "2025-01-08", "2025-01-09"
START_MS = parse_time(START)
FIRST = ("--symbols", "BTCUSDT", "--start", START, "--end", MIDDLE)
ALL = ("--symbols", "BTCUSDT", "--start", START)
_numbers = itertools.count(1)


def said(program: Program, *arguments: str, expect: int) -> str:
    """Run, require the exit code and no traceback, return all that was said."""
    done = program.run(*arguments)
    text = done.stdout + done.stderr
    assert done.returncode == expect, text[-3_000:]
    assert "Traceback" not in text and "unexpected fault" not in text, text[-3_000:]
    return text


def expected_rows(exchange: ReplayExchange) -> list[tuple[object, ...]]:
    return truth_rows(truth(exchange.store, BTC, START_MS))


# Tables and columns


def test_a_table_renamed_by_hand_is_fetched_again_and_the_renamed_one_is_left_alone(
    program: Program, exchange: ReplayExchange
) -> None:
    said(program, *FIRST, expect=0)
    kept = program.stored("ohlcv_btcusdt")
    program.query("alter table public.ohlcv_btcusdt rename to my_candles")
    text = said(program, *ALL, expect=0)
    assert "table public.ohlcv_btcusdt is gone or empty" in text
    assert program.stored("ohlcv_btcusdt") == expected_rows(exchange)
    assert program.stored("my_candles") == kept
    assert program.query("select count(*) from public.ohlcv") == [(len(expected_rows(exchange)),)]
    said(program, "check", expect=0)


def test_a_column_added_by_hand_that_may_be_empty_disturbs_nothing(program: Program, exchange: ReplayExchange) -> None:
    said(program, *FIRST, expect=0)
    program.query("alter table public.ohlcv_btcusdt add column note text")
    program.query("alter table public.ohlcv_btcusdt add column seen timestamptz not null default now()")
    said(program, *ALL, expect=0)
    assert program.stored("ohlcv_btcusdt") == expected_rows(exchange)


# One series each.
BESIDE_THE_VIEW = {
    "2h": "alter table public.{table} add column must integer not null default 1;"
    " alter table public.{table} alter column must drop default",
    "4h": "alter table public.{table} add constraint low_only check (close < 0) not valid",
    "8h": "create trigger swallow before insert on public.{table} for each row execute function public.swallow()",
}
# PostgreSQL lets these happen only when the view over all series goes first; the next run has to build it again.
UNDER_THE_VIEW = {
    "a column dropped": "alter table public.{table} drop column trades cascade",
    "the time dropped": "alter table public.{table} drop column time cascade",
    "a column as text": "drop view public.ohlcv; alter table public.{table} alter column close type text",
}
# As many bytes as the type before, so that a binary COPY takes them for something else.
SAME_WIDTH = {
    "5m": "drop view public.ohlcv; alter table public.{table} alter column time type timestamp",
    "1h": "drop view public.ohlcv; alter table public.{table} alter column trades type real",
}


def alter_by_hand(program: Program, exchange: ReplayExchange, hands: dict[str, str]) -> list[str]:
    """Fetch the first day of a series for each hand, let the hands do their work, return the names of the series."""
    names = [f"BTCUSDT/{code}" for code in hands]
    for name in names:
        series = parse_series(name)
        whole = Span(START_MS, START_MS + 2 * MS_PER_DAY)
        exchange.store.add(series, generate_series(series, whole, 7))
    said(program, "--symbols", *names, *FIRST[2:], expect=0)
    program.query("create function public.swallow() returns trigger language plpgsql as 'begin return null; end'")
    for code, hand in hands.items():
        program.query(hand.format(table=f"ohlcv_btcusdt_{code}"))
    return names


def rows_by_code(program: Program, codes: dict[str, str]) -> dict[str, int]:
    return {code: program.query(f"select count(*) from public.ohlcv_btcusdt_{code}")[0][0] for code in codes}


def test_tables_altered_so_that_they_cannot_hold_candles_fail_alone_and_are_named(
    program: Program, exchange: ReplayExchange
) -> None:
    names = alter_by_hand(program, exchange, BESIDE_THE_VIEW)
    before = rows_by_code(program, BESIDE_THE_VIEW)
    text = said(program, "--symbols", *names, "ETHUSDT", *ALL[2:], expect=3)
    for name in names:
        assert f"{name} failed: " in text, name
    assert "ETHUSDT/1m: ok" in text
    assert rows_by_code(program, BESIDE_THE_VIEW) == before
    ends = program.query("select distinct span_end::date::text from public.ohlcv_ledger join public.ohlcv_series s"
                         " on s.id = series_id where symbol = 'BTCUSDT'")  # fmt: skip
    assert ends == [(MIDDLE,)]


@pytest.mark.parametrize("hand", list(UNDER_THE_VIEW))
def test_a_table_altered_under_the_view_does_not_stop_the_other_series(
    program: Program, exchange: ReplayExchange, hand: str
) -> None:
    said(program, "--symbols", "BTCUSDT", "ETHUSDT", *FIRST[2:], expect=0)
    program.query(UNDER_THE_VIEW[hand].format(table="ohlcv_btcusdt"))
    text = said(program, "--symbols", "BTCUSDT", "ETHUSDT", *ALL[2:], expect=3)
    assert "BTCUSDT/1m failed: " in text and "ETHUSDT/1m: ok" in text
    assert program.query("select count(*) from public.ohlcv_btcusdt") == [(1440,)]


@pytest.mark.parametrize("code", list(SAME_WIDTH))
def test_a_column_retyped_to_another_of_the_same_width_is_noticed_before_anything_is_stored(
    program: Program, exchange: ReplayExchange, code: str
) -> None:
    hand = {code: SAME_WIDTH[code]}
    names = alter_by_hand(program, exchange, hand)
    before = rows_by_code(program, hand)
    said(program, "--symbols", *names, *ALL[2:], expect=3)
    assert rows_by_code(program, hand) == before


def test_candles_stored_into_a_retyped_column_are_found_by_check(program: Program, exchange: ReplayExchange) -> None:
    names = alter_by_hand(program, exchange, {"1h": SAME_WIDTH["1h"]})
    program.run("--symbols", *names, *ALL[2:])
    said(program, "check", expect=3)


def test_two_columns_swapped_by_name_are_noticed_by_check(program: Program, exchange: ReplayExchange) -> None:
    said(program, *FIRST, expect=0)
    program.query(
        "alter table public.ohlcv_btcusdt rename column open to x; alter table public.ohlcv_btcusdt rename column close"
        " to open; alter table public.ohlcv_btcusdt rename column x to close"
    )
    said(program, "check", expect=3)
    said(program, "verify", expect=3)


# Ledger, catalog, migrations


def test_ledger_rows_deleted_by_hand_are_fetched_again_and_found_equal(
    program: Program, exchange: ReplayExchange
) -> None:
    said(program, *ALL, expect=0)
    program.query("delete from public.ohlcv_ledger")
    [series] = program.run_json(*ALL)["series"]
    stored = program.stored("ohlcv_btcusdt")
    assert (series["inserted"], series["conflicts"], series["already_there"]) == (0, 0, len(stored))
    assert stored == expected_rows(exchange)
    said(program, "check", expect=0)


LOST = {
    "ledger": "drop table public.ohlcv_ledger cascade",
    "gaps": "drop table public.ohlcv_gaps cascade",
    "catalog": "drop table public.ohlcv_series cascade",
    "migrations": "delete from public.ohlcv_migrations",
    "one column": "alter table public.ohlcv_ledger drop column content_hash",
}


@pytest.mark.parametrize("what", ["gaps", "one column", "migrations"])
def test_the_projects_own_tables_gone_by_hand_are_said_without_a_fault(
    program: Program, exchange: ReplayExchange, what: str
) -> None:
    said(program, *FIRST, expect=0)
    program.query(LOST[what])
    for arguments in (ALL, ("check",)):
        done = program.run(*arguments)
        assert "Traceback" not in done.stderr and "unexpected fault" not in done.stderr, done.stderr[-2_000:]
        if (what, arguments) != ("migrations", ("check",)):  # there nothing says that there is a schema
            assert done.returncode in (3, 6), (arguments, done.stderr)
    assert program.query("select count(*) from public.ohlcv_btcusdt") == [(1440,)]


@pytest.mark.parametrize("what", ["ledger", "gaps", "catalog", "migrations"])
def test_a_database_whose_own_tables_are_gone_cannot_be_used_until_they_are_made_anew(
    program: Program, exchange: ReplayExchange, what: str
) -> None:
    said(program, *FIRST, expect=0)
    program.query(LOST[what])
    for command in (ALL, ("check",), ("status",)):
        if what != "migrations" or command == ALL:  # there nothing says that there is a schema
            assert "When one of them is gone" in said(program, *command, expect=6)
    program.query(made_anew_by_the_document())
    said(program, *ALL, expect=0)
    said(program, "check", expect=0)
    said(program, "verify", expect=0)
    assert program.stored("ohlcv_btcusdt") == expected_rows(exchange)
    program.query("update public.ohlcv_btcusdt set close = close + 1 where time = '2025-01-08 01:00:00+00'")
    said(program, "check", expect=3)  # the table notes changes again


def made_anew_by_the_document() -> str:
    """The statements that docs/storage.md gives."""
    text = (PROJECT / "docs" / "storage.md").read_text(encoding="utf-8").split("## When one of them is gone\n")[1]
    return text.split("```sql\n")[1].split("```")[0]


def test_a_catalog_row_made_nonsense_by_hand_is_named(program: Program, exchange: ReplayExchange) -> None:
    said(program, "--symbols", "ETHUSDT", *FIRST[2:], expect=0)
    program.query("update public.ohlcv_series set symbol = 'E T H' where symbol = 'ETHUSDT'")
    text = said(program, *ALL, expect=2)
    assert "E T H" in text and "public.ohlcv_series" in text


# State folder and symbols.yml


def test_a_state_folder_of_another_machine_decides_nothing(program: Program, exchange: ReplayExchange) -> None:
    """Its database had everything; this one is new."""
    said(program, *ALL, expect=0)
    program.query("drop table public.ohlcv_btcusdt cascade; delete from public.ohlcv_ledger")
    program.query("delete from public.ohlcv_gaps; delete from public.ohlcv_series")
    text = said(program, *ALL, expect=0)
    assert "the database decides" in text
    assert program.stored("ohlcv_btcusdt") == expected_rows(exchange)
    said(program, "check", expect=0)


def test_the_state_file_of_another_series_is_not_believed(program: Program, exchange: ReplayExchange) -> None:
    said(program, "--symbols", "ETHUSDT", "--start", START, expect=0)
    said(program, *FIRST, expect=0)
    state = program.folder / "state"
    shutil.copy(state / "spot_ETHUSDT_1m.json", state / "spot_BTCUSDT_1m.json")
    assert "it belongs to ('spot', 'ETHUSDT', '1m')" in said(program, *ALL, expect=0)
    assert program.stored("ohlcv_btcusdt") == expected_rows(exchange)


@pytest.mark.parametrize(
    "text",
    [
        "symbols: [BTCUSDT",
        "\0\0\0",
        "<html><body>Not found</body></html>",
        "<<<<<<< HEAD\nsymbols: [BTCUSDT]\n=======\nsymbols: [ETHUSDT]\n>>>>>>> theirs\n",
    ],
)
def test_a_symbols_file_edited_to_nonsense_ends_with_2_and_changes_nothing(
    program: Program, exchange: ReplayExchange, text: str
) -> None:
    program.query("insert into public.symbols (symbol, active) values ('BTCUSDT', true)")
    program.symbols(text)
    assert "symbols.yml" in said(program, expect=2)
    assert program.query("select symbol, active from public.symbols") == [("BTCUSDT", True)]
    assert not (program.folder / "state").exists()


# Rights and settings of the server


def database_name(url: str) -> str:
    return url.split("@/")[1].split("?")[0]


def use(program: Program, url: str) -> None:
    program.settings["DATABASE_URL"] = program.database_url = url


def alter(program: Program, setting: str, value: str) -> None:
    name = database_name(program.database_url)
    program.query(f"alter database {name} set {setting} = {value}")


def test_a_user_who_may_not_create_is_told_what_to_grant(
    program: Program, exchange: ReplayExchange, empty_database_url: str
) -> None:
    use(program, empty_database_url)
    program.query("revoke create on schema public from public")
    program.query("drop role if exists looker_on; create role looker_on login")
    program.settings["DATABASE_URL"] = empty_database_url.replace("postgres@", "looker_on@")
    text = said(program, *ALL, expect=6)
    assert "grant the user CREATE" in text
    assert program.query("select tablename from pg_tables where schemaname = 'public'") == []
    assert "nothing stored yet" in said(program, "check", expect=0)
    program.query("drop role looker_on")


def test_a_user_who_may_only_read_can_check_and_nothing_else(program: Program, exchange: ReplayExchange) -> None:
    said(program, *FIRST, expect=0)
    url = program.database_url
    program.query("drop role if exists reads_only; create role reads_only login")
    program.query("grant select on all tables in schema public to reads_only")
    try:
        program.settings["DATABASE_URL"] = url.replace("postgres@", "reads_only@")
        said(program, "check", expect=0)
        said(program, "status", expect=0)
        said(program, *ALL, "--dry-run", expect=0)
        said(program, *ALL, expect=6)
    finally:
        program.query("drop owned by reads_only; drop role reads_only")
    assert len(program.stored("ohlcv_btcusdt")) == 1440


def test_a_read_only_database_can_be_checked_and_is_named_by_all_else(
    program: Program, exchange: ReplayExchange
) -> None:
    said(program, *FIRST, expect=0)
    name = database_name(program.database_url)
    alter(program, "default_transaction_read_only", "on")
    try:
        said(program, "check", expect=0)
        said(program, "status", expect=0)
        for arguments in (ALL, ("verify",)):
            assert "the database is read-only" in said(program, *arguments, expect=6)
    finally:
        program.query(f"set transaction read write; alter database {name} reset default_transaction_read_only")
    said(program, *ALL, expect=0)
    assert program.stored("ohlcv_btcusdt") == expected_rows(exchange)


SERVER_SETTINGS = {
    "timezone": "'Asia/Kathmandu'",
    "datestyle": "'German, DMY'",
    "intervalstyle": "'iso_8601'",
    "client_encoding": "'LATIN1'",
    "lc_numeric": "'C.utf8'",
    "extra_float_digits": "'-15'",
    "statement_timeout": "'120s'",
    "search_path": "'pg_catalog'",
    "standard_conforming_strings": "off",
    "bytea_output": "'escape'",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "enable_seqscan": "off",
    "work_mem": "'64kB'",
    "timezone_abbreviations": "'India'",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_deferrable": "on",
    "session_replication_role": "'replica'",
    "row_security": "off",
}


@pytest.mark.parametrize(
    "group", [list(SERVER_SETTINGS)[:-4], list(SERVER_SETTINGS)[-4:]], ids=["shown", "transactions"]
)
def test_settings_of_the_database_change_nothing_that_is_stored(
    program: Program, exchange: ReplayExchange, empty_database_url: str, group: list[str]
) -> None:
    use(program, empty_database_url)
    for setting in group:
        alter(program, setting, SERVER_SETTINGS[setting])
    said(program, *FIRST, expect=0)
    said(program, *ALL, expect=0)
    program.query("delete from public.ohlcv_btcusdt where time = '2025-01-08 10:00:00+00'")
    said(program, "check", expect=3)
    said(program, "check", "--heal", expect=0)
    said(program, "verify", expect=0)
    assert program.stored("ohlcv_btcusdt") == expected_rows(exchange)
    [series] = program.run_json("status")["series"]
    assert (series["first_candle"], series["rows"]) == ("2025-01-08T00:00:00Z", len(expected_rows(exchange)))


@pytest.mark.parametrize("setting", ["statement_timeout", "idle_in_transaction_session_timeout"])
def test_limits_that_end_statements_end_in_a_clear_word(
    program: Program, exchange: ReplayExchange, pg_server: EmbeddedServer, setting: str
) -> None:
    said(program, *FIRST, expect=0)
    alter(program, setting, "1")
    done = program.run(*ALL)
    text = done.stdout + done.stderr
    assert "Traceback" not in text and "unexpected fault" not in text, text[-3_000:]
    assert done.returncode in (0, 6), text[-3_000:]
    # Not from within the database, where the limit could end this statement too.
    execute(pg_server, f"alter database {database_name(program.database_url)} reset {setting}")
    said(program, *ALL, expect=0)
    assert program.stored("ohlcv_btcusdt") == expected_rows(exchange)


@pytest.fixture(params=["SQL_ASCII"])
def odd_encoding_url(request: pytest.FixtureRequest, pg_server: EmbeddedServer) -> Iterator[str]:
    name = f"encoded_{next(_numbers)}"
    admin = psycopg2.connect(**pg_server.keywords("postgres"))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"create database {name} encoding '{request.param}' locale 'C' template template0")
        yield f"postgresql://postgres@/{name}?host={pg_server.keywords()['host']}"
        cursor.execute(f"drop database {name} with (force)")
    admin.close()


def test_a_database_of_another_encoding_holds_the_same_candles(
    program: Program, exchange: ReplayExchange, odd_encoding_url: str
) -> None:
    use(program, odd_encoding_url)
    said(program, *FIRST, expect=0)
    program.query("delete from public.ohlcv_btcusdt where time = '2025-01-08 10:00:00+00'")
    said(program, "check", "--heal", expect=0)
    said(program, *ALL, expect=0)
    said(program, "verify", expect=0)
    assert program.stored("ohlcv_btcusdt") == expected_rows(exchange)


@pytest.mark.parametrize("odd_encoding_url", ["LATIN1"], indirect=True)
def test_an_encoding_that_cannot_hold_every_symbol_is_refused(
    program: Program, exchange: ReplayExchange, odd_encoding_url: str
) -> None:
    use(program, odd_encoding_url)
    text = said(program, *FIRST, expect=6)
    assert "has the encoding LATIN1" in text and "encoding 'UTF8'" in text


def test_a_symbol_beyond_ascii_is_stored_where_the_encoding_is_none(
    program: Program, exchange: ReplayExchange, odd_encoding_url: str
) -> None:
    series = parse_series("币安人生USDT")
    exchange.store.add(series, generate_series(series, Span(START_MS, START_MS + 2 * MS_PER_DAY), 9))
    use(program, odd_encoding_url)
    said(program, *FIRST[:2], series.symbol, *FIRST[2:], expect=0)
    assert len(program.stored(series.table_name)) == len(program.stored("ohlcv_btcusdt")) == 1440
    assert program.run_json("check")["complete"] is True
