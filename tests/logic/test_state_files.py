from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.series import parse_series
from core.times import MS_PER_DAY, MS_PER_HOUR, parse_time
from logic.state_files import SeriesState, load_state, remove_leftovers, save_state, state_path

BTC = parse_series("BTCUSDT")
NOW_MS = parse_time("2024-03-02T12:00")
STATE = SeriesState(1, 2, 3, "run", 4, "ok")


def test_a_state_comes_back_as_it_was_written_into_a_folder_that_was_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "state"
    save_state(folder, BTC, STATE)
    assert load_state(folder, BTC) == STATE
    assert [path.name for path in folder.iterdir()] == [state_path(folder, BTC).name]


def test_a_state_that_cannot_be_put_in_place_leaves_nothing_half_written(tmp_path: Path) -> None:
    state_path(tmp_path, BTC).mkdir()
    with pytest.raises(OSError):
        save_state(tmp_path, BTC, STATE)
    assert [path.name for path in tmp_path.iterdir()] == [state_path(tmp_path, BTC).name]


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b'{"version": 1'])
def test_what_a_loss_of_power_leaves_of_a_state_is_no_state(tmp_path: Path, content: bytes) -> None:
    state_path(tmp_path, BTC).write_bytes(content)
    assert load_state(tmp_path, BTC) is None


def test_half_written_files_of_killed_runs_go_after_a_day(tmp_path: Path) -> None:
    save_state(tmp_path, BTC, STATE)
    for name, age_ms in (("old.json.1.tmp", MS_PER_DAY + 1000), ("young.json.2.tmp", MS_PER_HOUR)):
        (tmp_path / name).write_text("{")
        os.utime(tmp_path / name, ((NOW_MS - age_ms) / 1000,) * 2)
    remove_leftovers(tmp_path, NOW_MS)
    remove_leftovers(tmp_path / "not there", NOW_MS)
    assert {path.name for path in tmp_path.iterdir()} == {state_path(tmp_path, BTC).name, "young.json.2.tmp"}
