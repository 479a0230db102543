"""A real pgbouncer in front of a test server, where this machine has one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest

from db.embedded import EmbeddedServer

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None, reason="no pgbouncer here: install that package to test what is behind one"
)
_SETTINGS = """
[databases]
* = host={host}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
server_round_robin = {round_robin}
ignore_startup_parameters = extra_float_digits
[users]
"""


@contextmanager
def pgbouncer(server: EmbeddedServer, mode: str, size: int = 5, round_robin: bool = False) -> Iterator[dict[str, str]]:
    """Run a pgbouncer before `server`; yield the libpq keywords of its address, to which a dbname is added."""
    where = server.keywords("postgres")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = server.data_dir.with_name(f"pgbouncer_{port}.ini")  # a folder that the server's own user may enter
    host = f"{where['host']} user={where['user']}"
    settings.write_text(
        _SETTINGS.format(host=host, port=port, mode=mode, size=size, round_robin=int(round_robin)), encoding="utf-8"
    )
    owner = server.data_dir.stat().st_uid if os.geteuid() == 0 else None  # who alone reaches the server's socket
    process = subprocess.Popen(
        [str(PGBOUNCER), "-q", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=owner
    )
    address = {"host": "127.0.0.1", "port": str(port), "user": where["user"]}
    try:
        _wait_until_it_listens(process, port)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, "pgbouncer has ended"
            assert time.monotonic() < until
            time.sleep(0.02)


def ask(keywords: dict[str, str], statement: str) -> list[tuple[object, ...]]:
    """Run a statement outside of any transaction, as another program of the same pool."""
    connection = psycopg2.connect(**keywords)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()
