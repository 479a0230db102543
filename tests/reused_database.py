"""A migrated database that each test finds as if it had just been made.

To make one and to drop it costs the server more than most tests do. So after a test what it added is dropped, its
rows are taken out and its sessions ended. Where that does not give back what was there at first (a test altered the
project's own tables, made a function, a role's grant, a setting), the database is dropped, and the next test gets a
new one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import cursor as Cursor
from servers import execute, url_of

from db.embedded import EmbeddedServer

_END_OF_SESSIONS_S = 30  # a busy machine takes a while to end them
_USERS_SCHEMAS = "nspname !~ '^pg_' and nspname <> 'information_schema'"
# What vacuum, analyze and truncate change without changing what a table is.
_NOT_SCHEMA = "'{relfilenode,relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}'"
_FIRST_OF_USERS = 16_384  # PostgreSQL's FirstNormalObjectId: what is below came with the server
# By the column that an index of the catalog begins with: read whole, they cost more than all that is ours.
_OF_USERS = {
    "pg_attribute": "attrelid", "pg_attrdef": "adrelid", "pg_index": "indexrelid", "pg_trigger": "oid",
    "pg_rewrite": "oid", "pg_policy": "oid", "pg_description": "objoid", "pg_constraint": "oid", "pg_proc": "oid",
    "pg_type": "oid",
}  # fmt: skip
_ROWS_OF_USERS = " ".join(
    f"union all select concat_ws(' ', '{catalog}', {column}, xmin) from {catalog} where {column} >= {_FIRST_OF_USERS}"
    for catalog, column in _OF_USERS.items()
)
# All that a person could have altered. Who alters a row of the catalog leaves it with another xmin; of pg_class,
# whose rows others alter too, what is in them.
_SCHEMA = f"""
with described as (
    select (to_jsonb(t) - {_NOT_SCHEMA}::text[])::text as what from pg_class t
    where relnamespace in (select oid from pg_namespace where {_USERS_SCHEMAS})
    union all select concat_ws(' ', oid, xmin, nspname) from pg_namespace where {_USERS_SCHEMAS}
    union all select concat_ws(' ', oid, xmin, datname) from pg_database where datname = current_database()
    {_ROWS_OF_USERS}
    union all select concat_ws(' ', oid, xmin, t::text) from pg_extension t
    union all select t::text from pg_event_trigger t
    union all select t::text from pg_default_acl t
    union all select t::text from pg_db_role_setting t
)
select md5(string_agg(what, ' ' order by what)) from described
"""
_OTHER_SESSIONS = """
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""
_KINDS = {"r": "table", "p": "table", "f": "foreign table", "v": "view", "m": "materialized view"}
_TABLES = f"""
from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where {_USERS_SCHEMAS} and relkind in ('r', 'p', 'f', 'v', 'm')
"""
_USED_SEQUENCES = "select seqrelid::regclass::text from pg_sequence where pg_sequence_last_value(seqrelid) is not null"
_numbers = itertools.count(1)


class ReusedDatabase:
    """A copy of the database `template`, made when first asked for and whenever the last one cannot be cleaned."""

    def __init__(self, server: EmbeddedServer, template: str) -> None:
        self._server = server
        self._template = template
        self._name = ""
        self._schema = ""
        self._tables: list[str] = []
        self._filled: dict[str, str] = {}  # what migrations have put into a table stays
        self._counting: list[str] = []  # sequences that they have used stay too

    @contextmanager
    def lend(self) -> Iterator[str]:
        """The URL of the database, as a new one would be; cleaned at the end."""
        if not self._name:
            self._create()
        try:
            yield url_of(self._server, self._name)
        finally:
            if not self._is_clean_again():
                self.drop()

    def drop(self) -> None:
        """Drop the database; the next one to ask gets a new one."""
        if self._name:
            execute(self._server, f"drop database if exists {self._name} with (force)")
        self._name = ""

    def _create(self) -> None:
        self._name = f"reused_{next(_numbers)}"
        execute(self._server, f"create database {self._name} template {self._template}")
        with self._cursor() as cursor:
            self._tables = _list(cursor, f"select pg_class.oid::regclass::text {_TABLES}")
            self._filled = {table: _rows(cursor, table) for table in _with_rows(cursor)}
            self._counting = _list(cursor, _USED_SEQUENCES)
            self._schema = _one(cursor, _SCHEMA)

    def _is_clean_again(self) -> bool:
        try:
            with self._cursor() as cursor:
                if not _end_sessions(cursor):
                    return False
                self._drop_what_is_new(cursor)
                self._empty_tables(cursor)
                rows = {table: _rows(cursor, table) for table in _with_rows(cursor)}
                return rows == self._filled and _one(cursor, _SCHEMA) == self._schema
        except psycopg2.Error:  # the server was stopped, the database dropped or closed to us: a new one, then
            return False

    def _drop_what_is_new(self, cursor: Cursor) -> None:
        cursor.execute(f"select pg_class.oid::regclass::text, relkind {_TABLES}")
        new = [(_KINDS[kind], name) for name, kind in cursor.fetchall() if name not in self._tables]
        if new:
            cursor.execute("; ".join(f"drop {kind} if exists {name} cascade" for kind, name in new))

    def _empty_tables(self, cursor: Cursor) -> None:
        if used := [table for table in _with_rows(cursor) if table not in self._filled]:
            cursor.execute(f"truncate {', '.join(used)} cascade")
        for sequence in set(_list(cursor, _USED_SEQUENCES)).difference(self._counting):
            cursor.execute(f"alter sequence {sequence} restart")

    @contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        connection = psycopg2.connect(url_of(self._server, self._name))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()


def _end_sessions(cursor: Cursor) -> bool:
    """End what a killed or leaking program has left; return whether all are gone."""
    cursor.execute(f"select pg_terminate_backend(pid) {_OTHER_SESSIONS}")
    end = time.monotonic() + _END_OF_SESSIONS_S
    while _one(cursor, f"select count(*) {_OTHER_SESSIONS}"):
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def _with_rows(cursor: Cursor) -> list[str]:
    """Return the tables that have, or have had, rows."""
    sized = f"select pg_class.oid::regclass::text {_TABLES} and relkind = 'r' and pg_relation_size(pg_class.oid) > 0"
    return _list(cursor, sized)


def _rows(cursor: Cursor, table: str) -> str:
    return str(_one(cursor, f"select md5(string_agg(t::text, ' ' order by t::text)) from {table} t"))


def _list(cursor: Cursor, statement: str) -> list[str]:
    cursor.execute(statement)
    return [value for (value,) in cursor.fetchall()]


def _one(cursor: Cursor, statement: str) -> str:
    [value] = _list(cursor, statement)
    return value
