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


def find_other_writers(tx: Transaction) -> list[str]:
    """Return who else may by default change the rows of tables that this user makes in the schema public, by name.

    PUBLIC stands for everybody. Some hosted services set such default privileges for roles of the web.
    """
    tx.cursor.execute(
        """
        select distinct case grantee when 0 then 'PUBLIC' else pg_get_userbyid(grantee) end
        from pg_default_acl, aclexplode(defaclacl)
        where defaclobjtype = 'r' and pg_get_userbyid(defaclrole) = current_user and grantee <> defaclrole
          and defaclnamespace in (0, 'public'::regnamespace)
          and privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
        order by 1
        """
    )
    return [name for (name,) in tx.cursor.fetchall()]
