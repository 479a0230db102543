"""Which rights of the role a run needs, beside owning nothing."""

from __future__ import annotations

from core.errors import DatabaseUnavailable
from db.connection import Database, fetch_one
from db.migrate import OWN_TABLES


def require_rights(database: Database) -> None:
    """Raise DatabaseUnavailable when the role may not do what every run does, with the statements that permit it.

    What a single candle table lacks, or making new ones, concerns their series only.
    """
    with database.transaction("look at the rights of the role") as tx:
        tx.cursor.execute(
            """
            select quote_ident(current_user), quote_ident(current_database()),
                   has_database_privilege(current_database(), 'temporary'),
                   array(select 'public.' || quote_ident(relname) from pg_class
                         where relnamespace = 'public'::regnamespace and relname = any(%s::name[])
                           and not (has_table_privilege(oid, 'select') and has_table_privilege(oid, 'insert')
                                    and has_table_privilege(oid, 'update') and has_table_privilege(oid, 'delete'))
                         order by relname)
            """,
            ([name for name in OWN_TABLES if name != "ohlcv_migrations"],),
        )
        user, name, may_stage, closed = fetch_one(tx)
    lacking = [] if may_stage else [f"grant temporary on database {name} to {user}"]
    if closed:
        lacking.append(f"grant select, insert, update, delete on {', '.join(closed)} to {user}")
    if lacking:
        raise DatabaseUnavailable(
            f"the role {user} lacks rights in {database.address} that every run needs; their owner permits it with: "
            f"{'; '.join(lacking)}"
        )
