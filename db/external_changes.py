"""`public.ohlcv_external_changes`: updates and deletes of candles by anything but this program, noted by triggers."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2 import sql

from db.connection import Transaction, fetch_one
from db.timescale import find_hypertables

_NOTES_PER_TABLE = 100

# PostgreSQL hands over the changed rows for one kind of statement a trigger, and for none of truncate.
_WITH_ROWS = {
    "ohlcv_note_external_change": "truncate on public.{} for each statement {}()",
    "ohlcv_note_external_update": (
        "update on public.{} referencing old table as old_rows new table as new_rows for each statement {}('rows')"
    ),
    "ohlcv_note_external_delete": (
        "delete on public.{} referencing old table as old_rows for each statement {}('rows')"
    ),
}
# TimescaleDB hands over no rows on compressed hypertables, older releases on none at all.
_WITHOUT_ROWS = {"ohlcv_note_external_change": "update or delete or truncate on public.{} for each statement {}()"}
_NOTE = sql.SQL("execute function public.ohlcv_note_external_change")


def watch_table(tx: Transaction, table: str) -> None:
    """Note external changes of a candle table from now on; triggers that do so already are made anew.

    A note says which candles were changed, and a statement that changes none is not noted. In hypertables every
    statement is noted, without its candles.
    """
    name = sql.Identifier(table)
    for trigger in _WITH_ROWS:
        tx.cursor.execute(sql.SQL("drop trigger if exists {} on public.{}").format(sql.Identifier(trigger), name))
    for trigger, noted in (_WITHOUT_ROWS if find_hypertables(tx, [table]) else _WITH_ROWS).items():
        statement = sql.SQL("create trigger {} after ").format(sql.Identifier(trigger))
        tx.cursor.execute(statement + sql.SQL(noted).format(name, _NOTE))


def watch_again(tx: Transaction, table: str) -> None:
    """Watch a table of `find_unwatched`.

    Where nothing was noted until now, that itself is noted: any candle may have changed.
    """
    was_watched = is_watched(tx, table)
    watch_table(tx, table)
    if not was_watched:
        tx.cursor.execute(
            "insert into public.ohlcv_external_changes (table_name, operation, changed_by)"
            " values (%s, 'unwatched until now', session_user)",
            (table,),
        )


def find_unwatched(tx: Transaction, tables: Sequence[str]) -> list[str]:
    """Return those of `tables`, which exist, that lack a trigger, or have the one of version 5 where more is possible.

    A table whose trigger was switched off is none of them: that stays as somebody wanted it. Nor is one that this
    user does not own, and so may not give a trigger.
    """
    tx.cursor.execute(
        """
        select relname, coalesce(bit_or(tgtype::integer) & 56 = 56, false) as are_all_noted
        from pg_class left join pg_trigger
            on tgrelid = pg_class.oid and tgfoid = 'public.ohlcv_note_external_change()'::regprocedure
        where relnamespace = 'public'::regnamespace and relname = any(%s::name[]) and pg_has_role(relowner, 'usage')
        group by relname having count(tgfoid) < 3 and coalesce(bool_and(tgenabled in ('O', 'A')), true) order by relname
        """,
        ([*tables],),
    )
    found = dict(tx.cursor.fetchall())
    hypertables = find_hypertables(tx, [*found])
    return [name for name, are_all_noted in found.items() if not are_all_noted or name not in hypertables]


def is_watched(tx: Transaction, table: str) -> bool:
    """Whether external changes are noted: triggers for update, delete and truncate exist and are enabled."""
    # Bits 3 to 5 of a trigger's type are delete, update and truncate (PostgreSQL, pg_trigger.h).
    tx.cursor.execute(
        """
        select coalesce(bit_or(tgtype::integer) & 56 = 56, false) from pg_trigger
        where tgrelid = ('public.' || quote_ident(%s))::regclass and tgenabled in ('O', 'A')
          and tgfoid = 'public.ohlcv_note_external_change()'::regprocedure
        """,
        (table,),
    )
    return bool(fetch_one(tx)[0])


def last_external_change(tx: Transaction, table: str) -> str | None:
    """Return the last external change (update or delete by something other than this program) as text, or None."""
    tx.cursor.execute(
        """
        select changed_at, operation, changed_by, application from public.ohlcv_external_changes
        where table_name = %s order by changed_at desc, id desc limit 1
        """,
        (table,),
    )
    row = tx.cursor.fetchone()
    if row is None:
        return None
    changed_at, operation, user, application = row
    return f"{operation} by {user}{f' ({application})' if application else ''} at {changed_at:%Y-%m-%dT%H:%M:%SZ}"


def merge_old_notes(tx: Transaction) -> None:
    """Keep the newest hundred notes of each table, and merge the older ones into one.

    What is merged makes as many candles doubtful as before, or more: any between the first and the last of them.
    """
    tx.cursor.execute(
        """
        with crowded as (
            select table_name from public.ohlcv_external_changes group by table_name having count(*) > 2 * %(most)s
        ), old as (
            select id from (
                select id, row_number() over (partition by table_name order by changed_at desc, id desc) as place
                from public.ohlcv_external_changes where table_name in (select table_name from crowded)) as ordered
            where place > %(most)s
        ), gone as (
            delete from public.ohlcv_external_changes where id in (select id from old) returning *
        )
        insert into public.ohlcv_external_changes
            (table_name, operation, changed_at, changed_in, changed_by, statements, rows, first_time, last_time)
        select table_name, 'several', max(changed_at), max(changed_in::text::bigint)::text::xid8, 'several',
               sum(statements), case when bool_and(rows is not null) then sum(rows) end,
               case when bool_and(first_time is not null) then min(first_time) end,
               case when bool_and(first_time is not null) then max(last_time) end
        from gone group by table_name
        """,
        {"most": _NOTES_PER_TABLE},
    )
