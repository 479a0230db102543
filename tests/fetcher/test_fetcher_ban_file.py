from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from fetcher_helpers import NOW_MS, FakeTime

from core.errors import EXIT_EXCHANGE, ExchangeBanned
from fetcher.ban_file import BanFile

TWO_MINUTES_MS = 120_000


def test_without_a_file_nothing_is_banned(
    ban_path: Path, fake_time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    BanFile(ban_path, fake_time.now_ms).refuse_while_banned("spot")
    assert caplog.records == []
    assert not ban_path.exists()


def test_a_ban_refuses_its_pool_alone_until_its_end(ban_path: Path, fake_time: FakeTime) -> None:
    bans = BanFile(ban_path, fake_time.now_ms)
    assert bans.record("spot", TWO_MINUTES_MS) == NOW_MS + TWO_MINUTES_MS
    with pytest.raises(ExchangeBanned) as caught:
        bans.refuse_while_banned("spot")
    assert caught.value.until_ms == NOW_MS + TWO_MINUTES_MS
    assert caught.value.exit_code == EXIT_EXCHANGE
    assert "2024-06-01T12:02Z" in str(caught.value) and str(ban_path) in str(caught.value)
    bans.refuse_while_banned("futures")


def test_a_ban_ends_at_its_millisecond(ban_path: Path, fake_time: FakeTime) -> None:
    bans = BanFile(ban_path, fake_time.now_ms)
    bans.record("spot", TWO_MINUTES_MS)
    fake_time.clock.advance(TWO_MINUTES_MS - 1)
    with pytest.raises(ExchangeBanned):
        bans.refuse_while_banned("spot")
    fake_time.clock.advance(1)
    bans.refuse_while_banned("spot")


def test_the_next_process_knows_it(ban_path: Path, fake_time: FakeTime) -> None:
    BanFile(ban_path, fake_time.now_ms).record("futures", TWO_MINUTES_MS)
    next_process = BanFile(ban_path, fake_time.now_ms)
    with pytest.raises(ExchangeBanned):
        next_process.refuse_while_banned("futures")
    next_process.refuse_while_banned("spot")


def test_a_shorter_ban_does_not_shorten_a_longer_one(ban_path: Path, fake_time: FakeTime) -> None:
    bans = BanFile(ban_path, fake_time.now_ms)
    bans.record("spot", TWO_MINUTES_MS)
    assert bans.record("spot", 1000) == NOW_MS + TWO_MINUTES_MS
    assert json.loads(ban_path.read_text()) == {"spot": NOW_MS + TWO_MINUTES_MS}


def test_the_bans_of_both_pools_stand_side_by_side(ban_path: Path, fake_time: FakeTime) -> None:
    bans = BanFile(ban_path, fake_time.now_ms)
    bans.record("spot", 1000)
    bans.record("futures", 2000)
    assert json.loads(ban_path.read_text()) == {"spot": NOW_MS + 1000, "futures": NOW_MS + 2000}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"7", b"null", b'{"spot": "soon"}', b'{"spot": null}', b'{"spot": [1]}', b"\xff\xfe"]
)
def test_a_corrupt_file_is_ignored_with_a_warning(
    ban_path: Path, fake_time: FakeTime, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    ban_path.parent.mkdir()
    ban_path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        bans = BanFile(ban_path, fake_time.now_ms)
    assert f"{ban_path} is unreadable and is ignored" in caplog.text
    bans.refuse_while_banned("spot")
    bans.record("spot", 1000)
    assert json.loads(ban_path.read_text()) == {"spot": NOW_MS + 1000}


def test_a_folder_that_cannot_be_written_is_a_warning_and_the_ban_still_holds(
    tmp_path: Path, fake_time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    path = tmp_path / "state" / "bans.json"
    bans = BanFile(path, fake_time.now_ms)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        bans.record("spot", TWO_MINUTES_MS)
    assert f"the ban cannot be recorded in {path}" in caplog.text
    with pytest.raises(ExchangeBanned):
        bans.refuse_while_banned("spot")
