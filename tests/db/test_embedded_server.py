"""The embedded server on machines as they are: root and users, shells and cron, old folders, long paths."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from core.errors import DatabaseUnavailable
from db import embedded
from db.embedded import EmbeddedServer
from db.embedded_account import Account, folders_to_open
from db.embedded_lock import lock_on_windows
from db.embedded_programs import Programs

NOBODY = 65534
as_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that everybody can enter; servers in it are stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ohlcv-home-"))
    folder.chmod(0o755)
    yield folder
    for pid_file in folder.glob("**/postmaster.pid"):
        EmbeddedServer(pid_file.parent).stop()
    shutil.rmtree(folder)


def pid_of(server: EmbeddedServer) -> int:
    return int((server.data_dir / "postmaster.pid").read_text().split()[0])


def user_of(server: EmbeddedServer) -> object:
    with psycopg2.connect(**server.keywords("postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("select current_user")
        (user,) = cursor.fetchone() or (None,)
    connection.close()
    return user


def rights_of(pid: int) -> dict[str, list[int]]:
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: [int(one) for one in rest.split()] for name, _, rest in lines if name in ("Uid", "Gid", "Groups")}


def as_nobody(do: Callable[[], object]) -> str:
    """Run `do` in a process of an unprivileged user; return the message of its DatabaseUnavailable, or nothing."""

    def work() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            do()
        except DatabaseUnavailable as error:
            told.send(str(error))
        else:
            told.send("")

    hears, told = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    told.close()
    try:
        return str(hears.recv())
    finally:
        process.join()


def test_variables_of_a_shell_change_neither_where_the_server_is_nor_who_finds_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(home / ("long" * 25) / "pgdata")  # with its socket elsewhere
    for name, value in {"PGPORT": "5433", "PGDATA": "/nowhere", "TMPDIR": str(home), "PGHOST": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    server.ensure_running("-c fsync=off")
    pid = pid_of(server)
    for name in ("PGPORT", "PGDATA", "TMPDIR", "PGHOST"):
        monkeypatch.delenv(name)
    for name, value in {
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": "5999",
        "PGOPTIONS": "-c role=nobody",
        "PGSSLMODE": "require",
        "PGTARGETSESSIONATTRS": "standby",
        "PGCLIENTENCODING": "no such",
    }.items():
        monkeypatch.setenv(name, value)
    tempfile.tempdir = None  # as in a new process
    EmbeddedServer(server.data_dir).ensure_running()
    assert pid_of(server) == pid
    assert user_of(server) == "postgres"
    Path(server.keywords()["host"]).rename(home / "away")  # as a run with a /tmp of its own sees it
    monkeypatch.setattr(embedded, "_BETWEEN_STARTS_S", 0.05)
    with pytest.raises(DatabaseUnavailable, match=r"systemd's PrivateTmp.*set EMBEDDED_PG_DIR to a shorter path"):
        server.ensure_running()
    (home / "away").rename(server.keywords()["host"])
    where = Path(server.keywords()["host"])
    server.stop()
    where.rmdir()


def test_a_server_that_was_started_on_another_port_is_found(home: Path) -> None:
    server = EmbeddedServer(home / "pgdata")
    server.ensure_running("-c fsync=off -c port=5433")
    assert server.keywords()["port"] == "5433"
    EmbeddedServer(server.data_dir).ensure_running()
    assert user_of(server) == "postgres"


@pytest.mark.parametrize("made_by", ["15", "99"])
def test_a_folder_of_another_major_version_is_refused_before_the_start(home: Path, made_by: str) -> None:
    data_dir = home / "pgdata"
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text(f"{made_by}\n")
    if os.geteuid() == 0:
        os.chown(data_dir, NOBODY, NOBODY)
    ours = Programs().server_major()
    with pytest.raises(
        DatabaseUnavailable, match=rf"made by PostgreSQL {made_by}, .* PostgreSQL {ours}, .*storage\.md"
    ):
        EmbeddedServer(data_dir).ensure_running()
    assert [path.name for path in data_dir.iterdir()] == ["PG_VERSION"]


@as_root
def test_root_runs_a_users_server_as_that_user_and_leaves_the_user_everything(home: Path) -> None:
    os.chown(home, NOBODY, NOBODY)
    server = EmbeddedServer(home / "pgdata")
    assert as_nobody(lambda: server.ensure_running("-c fsync=off")) == ""
    assert as_nobody(server.stop) == ""
    server.ensure_running()
    gid = server.data_dir.stat().st_gid
    assert rights_of(pid_of(server)) == {"Uid": [NOBODY] * 4, "Gid": [gid] * 4, "Groups": []}
    assert user_of(server) == "postgres"
    assert as_nobody(server.ensure_running) == ""
    server.stop()
    assert {path.lstat().st_uid for path in home.glob("**/*")} == {NOBODY}
    assert as_nobody(server.ensure_running) == ""


@as_root
def test_a_user_after_root_is_told_whose_the_folder_is_and_what_to_do(home: Path) -> None:
    server = EmbeddedServer(home / "pgdata")
    server.ensure_running("-c fsync=off")
    owner = server.data_dir.stat()
    rights = {"Uid": [owner.st_uid] * 4, "Gid": [owner.st_gid] * 4, "Groups": []}
    assert owner.st_uid != 0 and owner.st_gid != 0 and rights_of(pid_of(server)) == rights
    told = "belongs to the user ohlcv-postgres, and this run is by nobody: run as ohlcv-postgres or as root"
    assert told in as_nobody(server.ensure_running)
    assert told in as_nobody(server.exists)
    assert told in as_nobody(server.stop)
    server.stop()
    subprocess.run(["chown", "-R", str(NOBODY), server.data_dir], check=True)  # as the message says
    assert as_nobody(server.ensure_running) == ""


@as_root
def test_data_of_root_are_refused_and_keep_their_owner(home: Path) -> None:
    data_dir = home / "pgdata"
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text("18\n")
    with pytest.raises(DatabaseUnavailable, match="belongs to root, as whom PostgreSQL refuses to run"):
        EmbeddedServer(data_dir).ensure_running()
    assert data_dir.stat().st_uid == 0


@as_root
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_root_uses_no_socket_folder_that_somebody_else_has_put_there(home: Path, kind: str) -> None:
    data_dir = home / ("x" * 120)
    foreseen = Path(f"/tmp/ohlcv-postgres-{zlib.crc32(str(data_dir).encode()):08x}")
    target = home / "target"
    target.mkdir()
    os.chown(target, NOBODY, NOBODY)
    if kind == "folder":
        target.rename(foreseen)
    else:
        foreseen.symlink_to(target)
    try:
        with pytest.raises(DatabaseUnavailable, match=f"{foreseen} belongs to another user"):
            EmbeddedServer(data_dir).ensure_running()
        assert foreseen.stat().st_uid == NOBODY
    finally:
        foreseen.unlink() if foreseen.is_symlink() else foreseen.rmdir()


def test_only_folders_that_the_account_cannot_pass_are_to_be_opened(tmp_path: Path) -> None:
    closed, open_ = tmp_path / "closed", tmp_path / "open"
    closed.mkdir(mode=0o700)
    open_.mkdir(mode=0o755)
    other, own = Account(NOBODY, NOBODY, "nobody"), Account(os.geteuid(), os.getegid(), "own")
    assert closed in folders_to_open([closed / "data"], other)
    assert closed not in folders_to_open([closed / "data"], own)
    assert open_ not in folders_to_open([open_ / "data"], other)


def test_the_servers_log_is_kept_short(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedServer(home / "pgdata")
    server.ensure_running("-c fsync=off")
    log = server.data_dir / "server.log"
    begin = log.read_text()
    server.ensure_running()
    assert log.read_text() == begin
    monkeypatch.setattr(embedded, "_LOG_BYTES", len(begin) - 1)
    server.ensure_running()
    assert (log.read_text(), (server.data_dir / "server.log.1").read_text()) == ("", begin)
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(**server.keywords("nowhere"))
    assert log.read_text().lstrip("\0").startswith("20") and 'database "nowhere" does not exist' in log.read_text()
    assert (server.data_dir / "server.log.1").stat().st_uid == server.data_dir.stat().st_uid


def test_on_windows_a_lock_is_waited_for_longer_than_the_ten_seconds_that_windows_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Msvcrt:
        LK_LOCK = 1
        left = 3

        def locking(self, file: int, mode: int, count: int) -> None:
            self.left -= 1
            if self.left > 0:
                raise OSError(36, "Resource deadlock avoided")

    import errno
    import sys

    monkeypatch.setattr(errno, "EDEADLK", 36)  # Windows's number
    windows = Msvcrt()
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    lock_on_windows(0, tmp_path)
    assert windows.left == 0
    windows.left = 10_000
    with pytest.raises(DatabaseUnavailable, match="another run has held"):
        lock_on_windows(0, tmp_path)


def test_on_windows_folders_are_made_without_a_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_WINDOWS", True)
    embedded._make_private(tmp_path / "as usual", None)
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "as usual").stat().st_mode == (tmp_path / "usual").stat().st_mode
