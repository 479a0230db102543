"""`public.ohlcv_external_changes`: updates and deletes of candles by anything but this program, noted by a trigger."""

from __future__ import annotations

from psycopg2 import sql

from db.connection import Transaction, fetch_one


def watch_table(tx: Transaction, table: str) -> None:
    """Have external changes of a candle table that is not watched yet noted from now on."""
    tx.cursor.execute(
        sql.SQL(
            "create trigger ohlcv_note_external_change after update or delete or truncate on public.{}"
            " for each statement execute function public.ohlcv_note_external_change()"
        ).format(sql.Identifier(table))
    )


def is_watched(tx: Transaction, table: str) -> bool:
    """Whether external changes are recorded: the trigger exists and is enabled."""
    tx.cursor.execute(
        """
        select exists (
            select from pg_trigger where tgrelid = ('public.' || quote_ident(%s))::regclass
              and tgname = 'ohlcv_note_external_change' and tgenabled in ('O', 'A'))
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
