"""One run at a time per database and series, by PostgreSQL advisory locks.

The locks belong to the session: a run that is killed leaves none behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor

# First half of the two-number advisory lock key; any constant will do, the second half is the series' id.
_SERIES_LOCK_CLASS = 0x6F686C63


def try_lock_series(cursor: Cursor, series_ids: Sequence[int]) -> set[int]:
    """Return those of `series_ids` whose lock this session now holds; never waits."""
    cursor.execute(
        "select id from unnest(%s::integer[]) as wanted(id) where pg_try_advisory_lock(%s, id)",
        (list(series_ids), _SERIES_LOCK_CLASS),
    )
    return {series_id for (series_id,) in cursor.fetchall()}
