"""Tells the program's own relations from others of the same name: a database may be shared with other programs."""

from __future__ import annotations

from collections.abc import Sequence

from db.connection import Transaction

# The comment of every relation that the migrations make begins with it.
OWN_MARK = "OHLCV Data Fetcher: "


def find_marked(tx: Transaction, names: Sequence[str]) -> dict[str, bool]:
    """Return those of `names` that exist in the schema public, each with whether it carries this program's mark."""
    tx.cursor.execute(
        """
        select name, coalesce(starts_with(obj_description(relation, 'pg_class'), %s), false)
        from unnest(%s) as name, to_regclass('public.' || quote_ident(name)) as relation where relation is not null
        """,
        (OWN_MARK, [*names]),
    )
    return dict(tx.cursor.fetchall())


def find_other_writers(tx: Transaction, table: str) -> list[str]:
    """Return who else may change the rows of `table` (roles, or PUBLIC), by name."""
    tx.cursor.execute(
        """
        select distinct case grantee when 0 then 'PUBLIC' else pg_get_userbyid(grantee) end
        from pg_class, aclexplode(relacl)
        where pg_class.oid = to_regclass('public.' || quote_ident(%s)) and grantee <> relowner
          and privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
        order by 1
        """,
        (table,),
    )
    return [name for (name,) in tx.cursor.fetchall()]
