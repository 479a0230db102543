"""Whom the embedded server runs as. PostgreSQL refuses to run as root, so a run by root lends it another account.

Data that are there keep their owner, whoever runs the program; nothing that this program did not make gets another.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import DatabaseUnavailable

_log = logging.getLogger(__name__)

_WINDOWS = os.name == "nt"
_SYSTEM_USER = "ohlcv-postgres"


@dataclass(frozen=True, slots=True)
class Account:
    """A Unix account."""

    uid: int
    gid: int
    name: str


def is_root() -> bool:
    """Whether this process is root's."""
    return not _WINDOWS and os.geteuid() == 0


def account_of(data_dir: Path) -> Account | None:
    """Return whom to run the server of `data_dir` as; None: whoever runs this. The folder contains a database.

    Raises DatabaseUnavailable when that cannot be.
    """
    if _WINDOWS:
        return None
    owner = data_dir.stat().st_uid
    if owner == os.geteuid() and not is_root():
        return None
    if not is_root():
        raise DatabaseUnavailable(of_another_user(data_dir))
    if owner == 0:
        raise DatabaseUnavailable(
            f"{data_dir} belongs to root, as whom PostgreSQL refuses to run: give it to a user, "
            f"chown -R USER '{data_dir}', and run again"
        )
    return _known(owner, data_dir.stat().st_gid)


def of_another_user(data_dir: Path) -> str:
    """Return the words for a data folder that whoever runs this cannot use."""
    owner, own = _known(data_dir.stat().st_uid, -1).name, _known(os.geteuid(), -1).name
    return (
        f"{data_dir} belongs to the user {owner}, and this run is by {own}: run as {owner} or as root; or, as root, "
        f"stop the server (python3 bootstrap.py server stop) and give the folder to {own}: chown -R {own} '{data_dir}'"
    )


def new_account() -> Account | None:
    """Return whom to make a new database as; as root an unprivileged system user. Raises DatabaseUnavailable."""
    if not is_root():
        return None
    import pwd

    try:
        user = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        _log.warning("running as root, which PostgreSQL refuses: creating the system user %s for it", _SYSTEM_USER)
        _create_system_user()
        user = pwd.getpwnam(_SYSTEM_USER)
    return Account(user.pw_uid, user.pw_gid, _SYSTEM_USER)


def let_pass(account: Account, paths: Iterable[Path]) -> None:
    """Let `account` reach `paths`, as root; each folder that is opened for that is logged."""
    for folder in folders_to_open(paths, account):
        mode = folder.stat().st_mode & 0o7777
        # Only the right to traverse (x), not to list (r): the least that the server needs to reach its files.
        opened = mode | 0o011
        _log.warning("running as root: %s gets mode %o, not %o, so that PostgreSQL can pass", folder, opened, mode)
        folder.chmod(opened)


def folders_to_open(paths: Iterable[Path], account: Account) -> list[Path]:
    """Return the parent folders of `paths` that `account` cannot traverse, outermost first."""
    parents = {parent for path in paths for parent in path.resolve().parents}
    return sorted(parent for parent in parents if parent.exists() and not _may_pass(parent, account))


def _may_pass(folder: Path, account: Account) -> bool:
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == account.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def _known(uid: int, gid: int) -> Account:
    """Return the account of `uid` with its own group; with `gid` where the system has no such account."""
    import pwd

    try:
        user = pwd.getpwuid(uid)
    except KeyError:  # in a container, the owner of a folder need not be a user there
        return Account(uid, gid, f"with the number {uid}")
    return Account(uid, user.pw_gid, user.pw_name)


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
