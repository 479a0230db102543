"""Rechecks of gaps: what proves that the exchange has no candle, when it is asked, and candles that come after all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from generated import generated_store
from stored_series import StoredSeries, stored_series

from core.errors import SeriesError
from core.gaps import Gap, GapStatus, Reason
from core.ranges import Span, merge
from core.series import Series, parse_series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, MS_PER_SECOND, parse_time
from db.connection import Database
from db.ledger import load_entries
from demo.candle_store import CandleStore
from demo.faults import AlterRows, Answer
from demo.generated_market import generate_series
from demo.server import ReplayExchange
from logic.gaps.checker import HealResult, fill_missing
from logic.gaps.rechecks import recheck_gaps

BTC = parse_series("BTCUSDT")
SPAN = Span(parse_time("2024-03-04"), parse_time("2024-03-07"))
HALT = Span(parse_time("2024-03-05T10:00"), parse_time("2024-03-05T11:30"))
LATE_MS = parse_time("2024-05-20T12:00")  # everything has long been published
MANY = 1_000_000


def store_of(series: Series = BTC, span: Span = SPAN, halts: tuple[Span, ...] = (HALT,)) -> CandleStore:
    return generated_store(series, Span(span.start_ms - MS_PER_DAY, span.end_ms + MS_PER_DAY), 1, halts)


@pytest.fixture
def stored(database: Database, tmp_path: Path) -> Iterator[StoredSeries]:
    """Three days long ago with a halt of an hour and a half."""
    with stored_series(database, tmp_path, store_of(), BTC, SPAN, LATE_MS) as series:
        yield series


def wait(stored: StoredSeries, ms: int) -> None:
    """Let `ms` and a second pass, and the next run begin: it takes the exchange's time anew."""
    stored.replay.clock.advance(ms + MS_PER_SECOND)
    stored.begin_run()


def heal(stored: StoredSeries, choice: AllowedSources = AllowedSources.AUTO) -> HealResult:
    return fill_missing(stored.recheck(choice), [stored.span])


def recheck_when_due(stored: StoredSeries) -> None:
    """Do what every run does: ask about the gaps whose time has come, at no others."""
    recheck = stored.recheck()
    due = [gap for gap in stored.gaps() if recheck.wants(gap)]
    if due:
        recheck_gaps(recheck, due)


def asked(replay: ReplayExchange) -> int:
    """Return how many requests for candles, by REST or from archives, came since this was last asked."""
    by_rest = sum(record.path.endswith("/klines") and "endTime" in record.params for record in replay.requests)
    count = by_rest + replay.count("/data/")  # a question without an end looks for the listing
    replay.clear_requests()
    return count


def without_archives(replay: ReplayExchange) -> None:
    replay.faults.add("/data/", Answer(404), times=MANY)


def only_gap(stored: StoredSeries) -> Gap:
    [gap] = stored.gaps()
    return gap


def all_gaps(stored: StoredSeries) -> list[tuple[str, int, int]]:
    """Return status, start and end of every gap that ever was, in epoch ms."""
    with stored.database.transaction("read") as tx:
        tx.cursor.execute(
            "select status, (extract(epoch from gap_start) * 1000)::bigint,"
            " (extract(epoch from gap_end) * 1000)::bigint from public.ohlcv_gaps order by gap_start"
        )
        return tx.cursor.fetchall()


def history(stored: StoredSeries, start_ms: int) -> list[str]:
    """Return the kinds of what happened to the gap that begins at `start_ms`."""
    with stored.database.transaction("read") as tx:
        tx.cursor.execute(
            "select event ->> 'kind' from public.ohlcv_gaps, jsonb_array_elements(history) as event"
            " where extract(epoch from gap_start) * 1000 = %s",
            (start_ms,),
        )
        return [kind for (kind,) in tx.cursor.fetchall()]


def test_one_answer_of_rest_and_a_verified_archive_prove_it_at_once(stored: StoredSeries) -> None:
    result = heal(stored)
    assert (result.healed, result.not_at_exchange, result.unexplained) == (0, 90, 0)
    gap = only_gap(stored)
    assert (gap.span, gap.status) == (HALT, GapStatus.NOT_AT_EXCHANGE)
    assert {answer.source for answer in gap.answers} == {Source.REST, Source.ARCHIVE_DAILY}
    [checksum] = [answer.checksum for answer in gap.answers if answer.source is not Source.REST]
    assert checksum is not None and len(checksum) == 64
    assert (
        gap.next_recheck_ms is not None
        and gap.next_recheck_ms // MS_PER_SECOND == (LATE_MS + MS_PER_DAY) // MS_PER_SECOND
    )


def test_two_equal_answers_count_only_half_an_hour_apart(stored: StoredSeries) -> None:
    without_archives(stored.replay)
    assert heal(stored).unexplained == 90
    gap = only_gap(stored)
    assert gap.status is GapStatus.MISSING
    assert gap.next_recheck_ms == gap.answers[0].last_ms + 30 * MS_PER_MINUTE
    asked(stored.replay)
    for _ in range(2):  # 14 and 28 minutes later
        wait(stored, 14 * MS_PER_MINUTE)
        recheck_when_due(stored)
        assert asked(stored.replay) == 0
        assert heal(stored).unexplained == 90
        assert only_gap(stored).status is GapStatus.MISSING
        asked(stored.replay)
    wait(stored, 2 * MS_PER_MINUTE)
    recheck_when_due(stored)
    gap = only_gap(stored)
    assert gap.status is GapStatus.NOT_AT_EXCHANGE
    assert [answer.source for answer in gap.answers] == [Source.REST]
    assert gap.answers[0].last_ms - gap.answers[0].first_ms >= 30 * MS_PER_MINUTE


def test_an_archive_alone_does_not_prove_it_while_rest_cannot_be_asked(stored: StoredSeries) -> None:
    recheck = stored.recheck()
    stored.replay.faults.add("/api/v3/klines", Answer(400, {"code": -1121, "msg": "Invalid symbol."}), times=MANY)
    with pytest.raises(SeriesError, match="1121"):
        fill_missing(recheck, [SPAN])
    assert [gap.status for gap in stored.gaps()] == [GapStatus.MISSING]


@pytest.mark.parametrize("hours", [1, 10, 20, 25, 40])
def test_a_young_gap_is_not_proven_without_its_archive_however_often_rest_is_asked(
    database: Database, tmp_path: Path, hours: int
) -> None:
    now_ms = HALT.end_ms + hours * MS_PER_HOUR
    span = Span(SPAN.start_ms, HALT.end_ms + 30 * MS_PER_MINUTE)
    settled_ms = parse_time("2024-03-07")  # a day after the end of the gap's own
    with stored_series(database, tmp_path, store_of(), BTC, span, now_ms) as stored:
        without_archives(stored.replay)
        for number in range(4):
            heal(stored)
            is_absent = number > 0 and stored.replay.clock.now_ms() >= settled_ms
            assert only_gap(stored).status is (GapStatus.NOT_AT_EXCHANGE if is_absent else GapStatus.MISSING)
            wait(stored, 31 * MS_PER_MINUTE)


def test_a_young_gap_is_proven_when_its_archive_is_out(database: Database, tmp_path: Path) -> None:
    span = Span(SPAN.start_ms, HALT.end_ms + 30 * MS_PER_MINUTE)
    with stored_series(database, tmp_path, store_of(), BTC, span, HALT.end_ms + MS_PER_HOUR) as stored:
        clock = stored.replay.clock
        out_ms = parse_time("2024-03-06T08:00")
        while clock.now_ms() < out_ms:
            heal(stored)
            assert only_gap(stored).status is GapStatus.MISSING
            wait(stored, 2 * MS_PER_HOUR)
        recheck_when_due(stored)
        gap = only_gap(stored)
        assert gap.status is GapStatus.NOT_AT_EXCHANGE
        assert {answer.source for answer in gap.answers} == {Source.REST, Source.ARCHIVE_DAILY}


def test_a_proven_gap_is_asked_for_after_a_day_a_week_and_a_month_and_then_no_more(stored: StoredSeries) -> None:
    heal(stored)
    asked(stored.replay)
    due = []
    for number in range(1, 2 * 70):  # every twelve hours for seventy days
        wait(stored, 12 * MS_PER_HOUR)
        recheck_when_due(stored)
        if count := asked(stored.replay):
            due.append(number / 2)
            assert count < 10
        assert only_gap(stored).status is GapStatus.NOT_AT_EXCHANGE
    assert due == [1, 8, 38]
    gap = only_gap(stored)
    assert (gap.next_recheck_ms, gap.rechecks) == (None, 3)
    heal(stored)
    assert asked(stored.replay) == 0


def test_candles_published_late_come_with_the_next_recheck_that_is_due_and_not_before(stored: StoredSeries) -> None:
    heal(stored)
    stored.replay.store.add(BTC, generate_series(BTC, HALT, 9))
    asked(stored.replay)
    for _ in range(3):
        wait(stored, 7 * MS_PER_HOUR)
        recheck_when_due(stored)
        heal(stored)
    assert asked(stored.replay) == 0
    wait(stored, 3 * MS_PER_HOUR)
    recheck_when_due(stored)
    assert stored.rows() == stored.truth()
    assert stored.gaps() == []
    assert all_gaps(stored) == [("healed", HALT.start_ms, HALT.end_ms)]
    assert history(stored, HALT.start_ms) == ["found", "not_at_exchange", "reason", "healed"]
    assert stored.check().is_complete


def test_a_part_that_is_published_late_is_healed_and_the_rest_stays_as_it_is_with_its_past(
    stored: StoredSeries,
) -> None:
    heal(stored)
    part = Span(HALT.start_ms + 20 * MS_PER_MINUTE, HALT.start_ms + 50 * MS_PER_MINUTE)
    stored.replay.store.add(BTC, generate_series(BTC, part, 9))
    wait(stored, MS_PER_DAY)
    recheck_when_due(stored)
    assert stored.rows() == stored.truth()
    assert all_gaps(stored) == [
        ("not_at_exchange", HALT.start_ms, part.start_ms),
        ("healed", part.start_ms, part.end_ms),
        ("not_at_exchange", part.end_ms, HALT.end_ms),
    ]
    for start_ms in (HALT.start_ms, part.start_ms, part.end_ms):
        told = history(stored, start_ms)
        assert told[:3] == ["found", "not_at_exchange", "reason"]
        assert "split" in told
    check = stored.check()
    assert (check.is_complete, check.not_at_exchange) == (True, 60)
    # The rest is still looked at again.
    stored.replay.store.add(BTC, generate_series(BTC, Span(part.end_ms, HALT.end_ms), 9))
    stored.replay.store.add(BTC, generate_series(BTC, Span(HALT.start_ms, part.start_ms), 9))
    wait(stored, 8 * MS_PER_DAY)
    recheck_when_due(stored)
    assert stored.rows() == stored.truth()
    assert stored.check().is_complete


def test_rows_that_were_lost_are_healed_and_never_called_not_at_exchange(stored: StoredSeries) -> None:
    lost = [
        HALT.start_ms - MS_PER_MINUTE,
        HALT.end_ms,
        HALT.end_ms + MS_PER_MINUTE,
        SPAN.start_ms,
        SPAN.end_ms - 60_000,
    ]
    stored.delete(lost)
    result = heal(stored)
    assert (result.healed, result.not_at_exchange, result.unexplained) == (5, 90, 0)
    assert stored.rows() == stored.truth()
    assert only_gap(stored).span == HALT
    assert sorted(row[0] for row in all_gaps(stored)) == ["healed", "healed", "healed", "healed", "not_at_exchange"]
    assert stored.check().is_complete


def test_rows_lost_while_rest_gives_nothing_are_missing_for_the_archive_has_them(stored: StoredSeries) -> None:
    lost = Span(parse_time("2024-03-06T03:00"), parse_time("2024-03-06T04:00"))
    stored.delete(list(range(lost.start_ms, lost.end_ms, MS_PER_MINUTE)))

    def forget(rows: list[list[object]]) -> list[list[object]]:
        return [row for row in rows if not lost.start_ms <= row[0] < lost.end_ms]

    stored.replay.faults.add("/klines", AlterRows(forget), times=MANY)
    assert heal(stored).healed == 60
    assert stored.rows() == stored.truth()
    assert stored.check().is_complete


def test_a_gap_over_two_committed_spans_and_two_days_is_one_gap_with_one_answer(
    database: Database, tmp_path: Path
) -> None:
    halt = Span(parse_time("2024-03-05T23:00"), parse_time("2024-03-06T01:30"))
    cut_ms = parse_time("2024-03-06")
    pieces = [Span(SPAN.start_ms, cut_ms), Span(cut_ms, SPAN.end_ms)]
    with stored_series(database, tmp_path, store_of(halts=(halt,)), BTC, SPAN, LATE_MS, pieces) as stored:
        result = heal(stored)
        assert (result.not_at_exchange, result.unexplained) == (150, 0)
        gap = only_gap(stored)
        assert gap.span == halt
        assert gap.last_rest_ms() is not None
        assert gap.archives_asked() == [halt]


def test_lost_and_not_at_exchange_next_to_each_other_are_told_apart_by_two_answers_of_rest(
    stored: StoredSeries,
) -> None:
    without_archives(stored.replay)
    beside = [HALT.start_ms - MS_PER_MINUTE, HALT.end_ms]
    stored.delete(beside)
    heal(stored)
    assert only_gap(stored).span == HALT
    stored.delete(beside)
    wait(stored, 31 * MS_PER_MINUTE)
    heal(stored)
    gap = only_gap(stored)
    assert (gap.span, gap.status) == (HALT, GapStatus.NOT_AT_EXCHANGE)
    assert stored.rows() == stored.truth()
    assert stored.check().is_complete


def test_rows_lost_beside_a_late_publication_leave_nothing_unproven(stored: StoredSeries) -> None:
    """A row is lost while the exchange briefly lacks it too; then it has that and the halt's candles."""
    heal(stored)
    lost_ms = parse_time("2024-03-06T03:00")
    [row] = stored.replay.store.rows(BTC, lost_ms, lost_ms + 1)
    stored.delete([lost_ms])
    stored.replay.store.remove(BTC, Span(lost_ms, lost_ms + MS_PER_MINUTE))
    without_archives(stored.replay)
    assert heal(stored).unexplained == 1
    stored.replay.store.add(BTC, [row, *generate_series(BTC, HALT, 9)])
    wait(stored, MS_PER_DAY)
    heal(stored)
    assert stored.rows() == stored.truth()
    assert stored.gaps() == []
    assert stored.check().is_complete


def test_candles_that_somebody_put_into_a_gap_before_the_exchange_published_them_are_proven_by_the_next_recheck(
    stored: StoredSeries,
) -> None:
    heal(stored)
    late = list(generate_series(BTC, HALT, 9))
    for row in late:
        values = (*row[1:6], row[7], row[8], row[9], row[10])
        stored.execute(
            "insert into {table} values (to_timestamp(%s / 1000.0), %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (row[0], *values),
        )
    assert not stored.check().is_complete
    stored.replay.store.add(BTC, late)
    wait(stored, MS_PER_DAY)
    recheck_when_due(stored)
    assert stored.rows() == stored.truth()
    assert stored.gaps() == []
    assert stored.check().is_complete


def test_a_heal_of_a_part_leaves_the_rest_healable_and_provable(database: Database, tmp_path: Path) -> None:
    """A heal with --start and --end, or one that was stopped between two series of losses."""
    with stored_series(database, tmp_path, store_of(halts=()), BTC, SPAN, LATE_MS) as stored:
        middle_ms = SPAN.start_ms + MS_PER_DAY
        stored.delete([SPAN.start_ms + MS_PER_HOUR, middle_ms + MS_PER_HOUR, middle_ms + 5 * MS_PER_HOUR])
        fill_missing(stored.recheck(), [Span(SPAN.start_ms, middle_ms)])
        check = stored.check()
        assert (check.missing, check.extra_rows) == (2, 0)
        heal(stored)
        assert stored.rows() == stored.truth()
        assert stored.check().is_complete


@pytest.mark.parametrize("choice", [AllowedSources.AUTO, AllowedSources.ARCHIVE])
def test_several_losses_in_one_committed_span_leave_it_whole_and_proven(
    database: Database, tmp_path: Path, choice: AllowedSources
) -> None:
    store = store_of(halts=())
    with stored_series(database, tmp_path, store, BTC, SPAN, LATE_MS, source=Source.ARCHIVE_MONTHLY) as stored:
        day_ms = SPAN.start_ms + MS_PER_DAY
        stored.delete([SPAN.start_ms + 5 * MS_PER_HOUR, day_ms - MS_PER_MINUTE, day_ms, day_ms + 7 * MS_PER_HOUR])
        heal(stored, choice)
        assert stored.rows() == stored.truth()
        assert stored.gaps() == []
        assert stored.check().is_complete
        with database.transaction("read") as tx:
            assert len(load_entries(tx, stored.series_id, stored.table)) == 1


@pytest.mark.parametrize(
    ("span", "now_ms"),
    [
        (Span(parse_time("2023-01-01"), parse_time("2023-07-01")), parse_time("2024-03-01")),
        (Span(parse_time("2024-03-01"), parse_time("2024-03-12")), parse_time("2024-03-20")),
    ],
    ids=["months", "days of a month that is not out"],
)
def test_a_long_loss_is_healed_from_archives_alone(database: Database, tmp_path: Path, span: Span, now_ms: int) -> None:
    """As for a symbol that the API no longer knows, or where REST is closed."""
    series = parse_series("BTCUSDT/1h")
    store = store_of(series, span=span, halts=())
    with stored_series(database, tmp_path, store, series, span, now_ms) as stored:
        lost = [row[0] for row in stored.truth()][50:-10]
        stored.delete(lost)
        result = heal(stored, AllowedSources.ARCHIVE)
        assert (result.healed, result.unexplained) == (len(lost), 0)
        assert stored.rows() == stored.truth()
        assert stored.check().is_complete


def test_archives_alone_prove_it_after_the_same_file_was_read_twice(stored: StoredSeries) -> None:
    assert heal(stored, AllowedSources.ARCHIVE).unexplained == 90
    wait(stored, 10 * MS_PER_MINUTE)
    assert heal(stored, AllowedSources.ARCHIVE).unexplained == 90
    wait(stored, 21 * MS_PER_MINUTE)
    assert heal(stored, AllowedSources.ARCHIVE).not_at_exchange == 90
    assert only_gap(stored).reason in (None, Reason.HALT, Reason.UNKNOWN)
    assert not any(record.path.endswith("/klines") for record in stored.replay.requests)


@pytest.mark.parametrize("text", ["BTCUSDT/1M", "BTCUSDT/1w", "BTCUSDT/3d"])
def test_long_intervals_are_judged_by_their_monthly_files(database: Database, tmp_path: Path, text: str) -> None:
    series = parse_series(text)
    interval = series.interval
    span = Span(interval.ceil(parse_time("2022-01-01")), interval.floor(parse_time("2024-01-01")))
    halt_ms = interval.floor(parse_time("2023-06-15"))
    halt = Span(halt_ms, interval.add(halt_ms, 1))
    store = store_of(series, span=span, halts=())
    store.remove(series, halt)
    with stored_series(database, tmp_path, store, series, span, LATE_MS) as stored:
        result = heal(stored)
        assert result.not_at_exchange + result.unexplained == 1
        wait(stored, 31 * MS_PER_MINUTE)
        heal(stored)
        gap = only_gap(stored)
        assert (gap.span, gap.status) == (halt, GapStatus.NOT_AT_EXCHANGE)
        assert stored.check().is_complete


def test_a_gap_of_weeks_over_the_end_of_a_month_is_never_cut_amid_a_week(database: Database, tmp_path: Path) -> None:
    """The next month's file begins within a week, of which it has no candle; that part once counted as healed."""
    week = parse_series("BTCUSDT/1w")
    span = Span(parse_time("2023-10-02"), parse_time("2024-01-29"))
    store = generated_store(week, span, 1)
    store.remove(week, Span(parse_time("2023-11-13"), parse_time("2023-12-25")))
    with stored_series(database, tmp_path, store, week, span, LATE_MS) as stored:
        heal(stored)
        gaps = stored.gaps()
        assert [gap.span.start_ms for gap in gaps] == [week.interval.floor(gap.span.start_ms) for gap in gaps]
        assert merge(gap.span for gap in gaps) == [Span(parse_time("2023-11-13"), parse_time("2023-12-25"))]
