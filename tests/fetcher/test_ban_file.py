from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from fetcher_helpers import NOW_MS, FakeTime, bans_in

from core.errors import ExchangeBanned
from core.exit_codes import EXIT_EXCHANGE
from fetcher.ban_file import LONGEST_BAN_MS, BanFile

TWO_MINUTES_MS = 120_000
YEARS_MS = 5 * 365 * 86_400_000


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
    assert bans_in(ban_path) == {"spot": NOW_MS + TWO_MINUTES_MS}


def test_the_bans_of_both_pools_stand_side_by_side(ban_path: Path, fake_time: FakeTime) -> None:
    bans = BanFile(ban_path, fake_time.now_ms)
    bans.record("spot", 1000)
    bans.record("futures", 2000)
    assert bans_in(ban_path) == {"spot": NOW_MS + 1000, "futures": NOW_MS + 2000}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"7",
        b"null",
        b'{"spot": "soon"}',
        b'{"spot": null}',
        b'{"spot": [1]}',
        b'{"spot": 1e999}',
        b'{"spot": -1e999}',
        b'{"spot": NaN}',
        b'{"spot": 1e300}x',
        b'{"spot": {"until_ms": 1}}',
        b'{"spot": {"until_ms": 1e999, "for_ms": 1, "exchange_until_ms": null}}',
        b"\xff\xfe",
    ],
)
def test_a_corrupt_file_is_ignored_with_one_warning(
    ban_path: Path, fake_time: FakeTime, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    ban_path.parent.mkdir()
    ban_path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        bans = BanFile(ban_path, fake_time.now_ms)
        assert caplog.records == []  # it is read when it is asked about
        for _ in range(3):
            bans.refuse_while_banned("spot")
            bans.refuse_while_banned("futures")
        assert ban_path.read_bytes() == content
        bans.record("spot", 1000)
    assert bans_in(ban_path) == {"spot": NOW_MS + 1000}
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"{ban_path} is unreadable and is ignored: ")


def test_a_ban_is_recorded_over_a_file_that_became_corrupt(
    ban_path: Path, fake_time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    bans = BanFile(ban_path, fake_time.now_ms)
    bans.record("futures", TWO_MINUTES_MS)
    ban_path.write_text('{"futures": 17')
    with pytest.raises(ExchangeBanned):  # what this process was told itself, it does not forget
        bans.refuse_while_banned("futures")
    bans.record("spot", 1000)
    assert bans_in(ban_path) == {"spot": NOW_MS + 1000, "futures": NOW_MS + TWO_MINUTES_MS}
    assert caplog.text.count("is unreadable and is ignored") == 1


def test_what_another_object_records_is_seen_at_once(ban_path: Path, fake_time: FakeTime) -> None:
    ours, theirs = BanFile(ban_path, fake_time.now_ms), BanFile(ban_path, fake_time.now_ms)
    ours.refuse_while_banned("spot")
    theirs.record("spot", TWO_MINUTES_MS)
    with pytest.raises(ExchangeBanned) as caught:
        ours.refuse_while_banned("spot")
    assert caught.value.until_ms == NOW_MS + TWO_MINUTES_MS
    ours.refuse_while_banned("futures")
    theirs.record("spot", 2 * TWO_MINUTES_MS)
    with pytest.raises(ExchangeBanned) as caught:
        ours.refuse_while_banned("spot")
    assert caught.value.until_ms == NOW_MS + 2 * TWO_MINUTES_MS


def test_two_objects_do_not_overwrite_each_others_bans(ban_path: Path, fake_time: FakeTime) -> None:
    ours, theirs = BanFile(ban_path, fake_time.now_ms), BanFile(ban_path, fake_time.now_ms)
    ours.record("spot", 5000)
    theirs.record("futures", 6000)
    assert bans_in(ban_path) == {"spot": NOW_MS + 5000, "futures": NOW_MS + 6000}
    assert theirs.record("spot", 1000) == NOW_MS + 5000  # a shorter one does not shorten the other's
    assert ours.record("futures", 9000) == NOW_MS + 9000
    assert bans_in(ban_path) == {"spot": NOW_MS + 5000, "futures": NOW_MS + 9000}


def test_a_file_that_was_deleted_frees_whom_it_told(ban_path: Path, fake_time: FakeTime) -> None:
    told_itself, read_it = BanFile(ban_path, fake_time.now_ms), BanFile(ban_path, fake_time.now_ms)
    told_itself.record("spot", TWO_MINUTES_MS)
    with pytest.raises(ExchangeBanned):
        read_it.refuse_while_banned("spot")
    ban_path.unlink()
    read_it.refuse_while_banned("spot")
    with pytest.raises(ExchangeBanned):
        told_itself.refuse_while_banned("spot")


def test_nothing_but_the_file_is_left_in_its_folder(ban_path: Path, fake_time: FakeTime) -> None:
    bans = BanFile(ban_path, fake_time.now_ms)
    bans.record("spot", 1000)
    bans.record("futures", 1000)
    assert [entry.name for entry in ban_path.parent.iterdir()] == [ban_path.name]


def test_a_ban_is_written_beside_so_that_a_failure_halfway_leaves_the_old_file_whole(
    ban_path: Path, fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bans = BanFile(ban_path, fake_time.now_ms)
    bans.record("spot", TWO_MINUTES_MS)
    before = ban_path.read_bytes()
    write_text = Path.write_text

    def halfway(path: Path, text: str, **options: str) -> int:
        write_text(path, text[: len(text) // 2], **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", halfway)
    with caplog.at_level(logging.WARNING):
        bans.record("futures", TWO_MINUTES_MS)
    assert f"cannot be recorded in {ban_path}" in caplog.text
    assert ban_path.read_bytes() == before
    for pool in ("spot", "futures"):
        with pytest.raises(ExchangeBanned):
            bans.refuse_while_banned(pool)


def test_a_reader_never_sees_half_a_file(ban_path: Path, fake_time: FakeTime, caplog: pytest.LogCaptureFixture) -> None:
    writer, reader = BanFile(ban_path, fake_time.now_ms), BanFile(ban_path, fake_time.now_ms)
    writer.record("spot", TWO_MINUTES_MS)

    def write() -> None:
        for number in range(300):
            writer.record("futures", number)

    thread = threading.Thread(target=write)
    thread.start()
    seen = 0
    while thread.is_alive() or seen == 0:
        with pytest.raises(ExchangeBanned):
            reader.refuse_while_banned("spot")
        seen += 1
    thread.join()
    assert caplog.records == []


def test_a_folder_that_cannot_be_written_is_a_warning_and_the_ban_still_holds(
    tmp_path: Path, fake_time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    path = tmp_path / "state" / "bans.json"
    bans = BanFile(path, fake_time.now_ms)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        bans.record("spot", TWO_MINUTES_MS)
    assert f"cannot be recorded in {path}" in caplog.text
    with pytest.raises(ExchangeBanned):
        bans.refuse_while_banned("spot")


def test_a_pause_holds_for_every_process_of_its_pool_and_is_no_ban(ban_path: Path, fake_time: FakeTime) -> None:
    BanFile(ban_path, fake_time.now_ms).record_pause("spot", 30_000)
    other = BanFile(ban_path, fake_time.now_ms)
    other.refuse_while_banned("spot")
    assert (other.pause_left_ms("spot"), other.pause_left_ms("futures")) == (30_000, 0)
    fake_time.clock.advance(29_999)
    assert other.pause_left_ms("spot") == 1
    fake_time.clock.advance(1)
    assert other.pause_left_ms("spot") == 0


def test_a_clock_that_is_set_back_does_not_make_a_pause_of_hours(ban_path: Path, fake_time: FakeTime) -> None:
    bans = BanFile(ban_path, fake_time.now_ms)
    bans.record_pause("spot", 30_000)
    fake_time.clock.set(NOW_MS - 5 * 3_600_000)
    assert bans.pause_left_ms("spot") == 30_000
    fake_time.clock.advance(30_000)
    assert bans.pause_left_ms("spot") == 0


def test_no_ban_is_longer_than_three_days_and_an_hour(ban_path: Path, fake_time: FakeTime) -> None:
    bans = BanFile(ban_path, fake_time.now_ms)
    assert bans.record("spot", YEARS_MS) == NOW_MS + LONGEST_BAN_MS
    bans.record_pause("spot", YEARS_MS)
    assert bans.pause_left_ms("spot") == 600_000
    fake_time.clock.set(NOW_MS + LONGEST_BAN_MS)
    bans.refuse_while_banned("spot")


@pytest.mark.parametrize("has_date", [True, False])
def test_a_clock_that_was_years_ahead_freezes_nothing(ban_path: Path, fake_time: FakeTime, has_date: bool) -> None:
    fake_time.clock.set(NOW_MS + YEARS_MS)
    BanFile(ban_path, fake_time.now_ms).record("spot", TWO_MINUTES_MS, NOW_MS if has_date else None)
    fake_time.clock.set(NOW_MS + 60_000)
    bans = BanFile(ban_path, fake_time.now_ms)
    with pytest.raises(ExchangeBanned) as caught:
        bans.refuse_while_banned("spot")
    assert caught.value.until_ms == NOW_MS + TWO_MINUTES_MS + (0 if has_date else 60_000)
    fake_time.clock.set(caught.value.until_ms)
    BanFile(ban_path, fake_time.now_ms).refuse_while_banned("spot")


def test_a_clock_that_was_years_behind_lets_no_request_into_the_ban(ban_path: Path, fake_time: FakeTime) -> None:
    """A machine without a clock of its own, before it has got the time: banned in 1970, run again in the present."""
    fake_time.clock.set(60_000)
    BanFile(ban_path, fake_time.now_ms).record("spot", TWO_MINUTES_MS, NOW_MS)
    for now_ms in (60_000, 90_000, NOW_MS, NOW_MS + TWO_MINUTES_MS - 1):
        fake_time.clock.set(now_ms)
        with pytest.raises(ExchangeBanned):
            BanFile(ban_path, fake_time.now_ms).refuse_while_banned("spot")
    for now_ms in (60_000 + TWO_MINUTES_MS, NOW_MS + TWO_MINUTES_MS):
        fake_time.clock.set(now_ms)
        BanFile(ban_path, fake_time.now_ms).refuse_while_banned("spot")


def test_a_clock_that_falls_back_years_keeps_the_ban_for_its_length(ban_path: Path, fake_time: FakeTime) -> None:
    BanFile(ban_path, fake_time.now_ms).record("spot", TWO_MINUTES_MS, NOW_MS)
    fake_time.clock.set(60_000)  # the machine was started again and has not got the time yet
    with pytest.raises(ExchangeBanned):
        BanFile(ban_path, fake_time.now_ms).refuse_while_banned("spot")
    fake_time.clock.set(NOW_MS + 90_000)
    with pytest.raises(ExchangeBanned):  # by the exchange's clock it is not over
        BanFile(ban_path, fake_time.now_ms).refuse_while_banned("spot")
    fake_time.clock.set(60_000 + TWO_MINUTES_MS)
    BanFile(ban_path, fake_time.now_ms).refuse_while_banned("spot")
