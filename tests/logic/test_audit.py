"""The audit of streamed candles: equal ones become verified, others are corrected with the old value kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from candles import Row, truth_rows
from generated import generated_store
from stored_series import StoredSeries, stored_series

from core.binance.row import ROW_POSITIONS
from core.closed_round import ClosedCandle, Fate, OpenRow
from core.columns import VALUE_NAMES
from core.gaps import GapStatus
from core.ranges import Span, TimeRange
from core.series import parse_series
from core.sources import AllowedSources, Source
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, parse_time
from db.closed_candles import RoundCommit, commit_round
from db.connection import Database
from db.ledger import LedgerEntry, load_entries
from db.locks import try_lock_series
from demo.faults import AlterRows, Answer
from logic.live.audit import audit_left_behind, audit_streamed
from logic.verify.undo import undo_repair
from logic.verify.verification import SeriesVerification, VerifyObserver
from logic.verify.verify_run import VerifyOptions, run_verify

BTC = parse_series("BTCUSDT")
BY_REST = Span(parse_time("2024-03-05"), parse_time("2024-03-05T01:00"))
BEGIN_MS = BY_REST.end_ms
HALT = Span(BEGIN_MS + 5 * MS_PER_HOUR, BEGIN_MS + 5 * MS_PER_HOUR + 2 * MS_PER_MINUTE)
STORE_SPAN = Span(BY_REST.start_ms - MS_PER_DAY, BEGIN_MS + 10 * MS_PER_HOUR)
MANY = 1_000_000


def at(slot: int) -> int:
    return BEGIN_MS + slot * MS_PER_MINUTE


@dataclass
class Streamed:
    """A series that a stream goes on with where REST ended. Candles are told by their minute after that."""

    stored: StoredSeries
    open_rows: dict[int, OpenRow] = field(default_factory=dict)

    def stream(self, first: int, last: int, wrong: int | None = None) -> None:
        """Stream the candles of some minutes, each when it closes; the one of minute `wrong` with other trades."""
        rows = self.stored.replay.store.rows(BTC, at(first), at(last))
        for row in rows:
            self.final(row, wrong is not None and row[0] == at(wrong))

    def final(self, row: Row | list[object], is_wrong: bool = False) -> None:
        values = [row[ROW_POSITIONS[name]] for name in VALUE_NAMES]
        values[6] = int(str(values[6])) + is_wrong
        candle = ClosedCandle(self.stored.series_id, BTC, int(str(row[0])), tuple(values))  # type: ignore[arg-type]
        self.stored.replay.clock.set(candle.open_ms + MS_PER_MINUTE + 200)
        run = RoundCommit("stream", candle.open_ms)
        [outcome] = commit_round(self.stored.database, [candle], self.open_rows, run)
        assert outcome.fate is Fate.STORED

    def audit(self, run_id: str = "audit", after_ms: int = MS_PER_MINUTE) -> SeriesVerification | None:
        """Audit `after_ms` after the last candle closed; return the result, None without anything to audit."""
        stored = self.stored
        stored.replay.clock.advance(after_ms)
        stored.begin_run()
        stored.replay.clear_requests()
        now_ms = stored.replay.clock.now_ms
        rows = [stored.catalog_row()]
        summary = audit_streamed(stored.database, stored.exchange, rows, run_id, now_ms, VerifyObserver())
        return summary.results[0] if summary.results else None

    def pages(self) -> int:
        return sum(one.path.endswith("/klines") for one in self.stored.replay.requests)

    def entries(self) -> list[LedgerEntry]:
        with self.stored.database.transaction("read") as tx:
            return load_entries(tx, self.stored.series_id, self.stored.table)

    def ledger(self) -> list[tuple[str, int, int, bool]]:
        """Return source, first minute and end of each streamed or later row, and whether it was verified."""
        return [
            (
                one.source.value,
                (one.span.start_ms - BEGIN_MS) // MS_PER_MINUTE,
                (one.span.end_ms - BEGIN_MS) // MS_PER_MINUTE,
                one.verified_ms is not None,
            )
            for one in self.entries()
            if one.span.start_ms >= BEGIN_MS
        ]

    def truth(self, last: int) -> list[Row]:
        rows = self.stored.replay.store.rows(BTC, BY_REST.start_ms, at(last))
        return truth_rows(rows)

    def corrections(self) -> list[tuple[object, ...]]:
        with self.stored.database.transaction("read") as tx:
            tx.cursor.execute(
                "select (extract(epoch from time) * 1000)::bigint, old_row -> 'trades', new_row -> 'trades', source,"
                " run_id from public.ohlcv_corrections order by id"
            )
            return tx.cursor.fetchall()


@pytest.fixture
def streamed(database: Database, tmp_path: Path) -> Iterator[Streamed]:
    store = generated_store(BTC, STORE_SPAN, 1, (HALT,))
    with stored_series(database, tmp_path, store, BTC, BY_REST, BEGIN_MS + 200) as stored:
        yield Streamed(stored)


def trades(streamed: Streamed, minute: int) -> int:
    [row] = streamed.stored.replay.store.rows(BTC, at(minute), at(minute + 1))
    return int(str(row[ROW_POSITIONS["trades"]]))


def test_what_rest_says_too_is_verified_by_one_page(streamed: Streamed) -> None:
    streamed.stream(0, 60)
    result = streamed.audit()
    assert result is not None and (result.exit_code, result.spans, result.verified, result.rows) == (0, 1, 1, 60)
    assert streamed.ledger() == [("stream", 0, 60, True)]
    assert streamed.pages() == 1
    assert streamed.entries()[0].verified_ms is None  # what came by REST is none of the audit's
    assert streamed.stored.rows() == streamed.truth(60)
    assert streamed.audit() is None and streamed.pages() == 0  # nothing is audited twice


def test_what_has_just_closed_is_left_to_the_next_audit(streamed: Streamed) -> None:
    streamed.stream(0, 60)
    streamed.audit(after_ms=0)
    assert streamed.ledger() == [("stream", 0, 59, True), ("stream", 59, 60, False)]
    streamed.stream(60, 120)
    assert streamed.ledger()[1:] == [("stream", 59, 60, False), ("stream", 60, 120, False)]
    streamed.audit()
    assert streamed.pages() == 1
    assert streamed.ledger() == [("stream", 0, 59, True), ("stream", 59, 120, True)]


def test_a_final_that_differs_is_corrected_and_the_old_value_kept(
    streamed: Streamed, caplog: pytest.LogCaptureFixture
) -> None:
    streamed.stream(0, 60, wrong=30)
    right = trades(streamed, 30)
    with caplog.at_level(logging.WARNING):
        result = streamed.audit("audit-1")
    assert result is not None and (result.exit_code, result.differing, result.repaired) == (0, 1, 1)
    assert streamed.pages() == 2  # a difference is believed when REST says it twice
    assert streamed.stored.rows() == streamed.truth(60)
    assert streamed.corrections() == [(at(30), right + 1, right, "rest", "audit-1")]
    assert streamed.ledger() == [("rest", 0, 60, True)]
    [said] = [one.message for one in caplog.records]
    assert said == (
        "BTCUSDT/1m: 1 streamed candles differed from REST and were corrected; public.ohlcv_corrections has the old "
        "values, verify --undo audit-1 puts them back"
    )


def test_a_correction_can_be_undone_and_is_not_made_again(streamed: Streamed) -> None:
    streamed.stream(0, 10, wrong=3)
    before = streamed.stored.rows()
    streamed.audit("audit-1")
    [undone] = undo_repair(streamed.stored.database, "audit-1", "undo", streamed.stored.replay.clock.now_ms)
    assert (undone.put_back, undone.corrections) == (1, 1)
    assert streamed.stored.rows() == before
    assert streamed.audit("audit-2") is None
    assert streamed.stored.rows() == before


def test_an_audited_candle_is_as_fixed_as_any_other(streamed: Streamed) -> None:
    streamed.stream(0, 10)
    streamed.audit()
    before = streamed.stored.rows()

    def changed(rows: list[Row]) -> list[Row]:
        return [(*row[:8], int(str(row[8])) + 1, *row[9:]) for row in rows]

    streamed.stored.replay.faults.add("/klines", AlterRows(changed), times=MANY)
    assert streamed.audit() is None
    assert streamed.stored.rows() == before


def test_what_rest_does_not_say_twice_stays_provisional(streamed: Streamed) -> None:
    streamed.stream(0, 10)
    before = streamed.stored.rows()

    def changed(rows: list[Row]) -> list[Row]:
        return [(*row[:8], int(str(row[8])) + 1, *row[9:]) for row in rows]

    streamed.stored.replay.faults.add("/klines", AlterRows(changed), times=1)
    result = streamed.audit()
    assert result is not None and result.exit_code == 3
    [(_, why)] = result.unverifiable
    assert why.startswith("REST gives other candles when asked again")
    assert streamed.ledger() == [("stream", 0, 10, False)]
    assert streamed.stored.rows() == before
    again = streamed.audit()
    assert again is not None and again.exit_code == 0
    assert streamed.ledger() == [("stream", 0, 10, True)]


def test_a_candle_that_rest_does_not_have_is_taken_out_when_it_says_so_again_half_an_hour_later(
    streamed: Streamed, caplog: pytest.LogCaptureFixture
) -> None:
    streamed.stream(290, 300)
    [row] = streamed.stored.replay.store.rows(BTC, at(299), at(300))
    streamed.final([HALT.start_ms, *row[1:]])  # minute 300: of a halt, by a mistake of the stream
    with caplog.at_level(logging.WARNING):
        first = streamed.audit("audit-1", after_ms=5 * MS_PER_MINUTE)
    assert first is not None and first.exit_code == 3
    assert streamed.ledger() == [("stream", 290, 301, False)]
    assert "stay provisional: REST has no candle in 2024-03-05T06:00Z" in caplog.text
    second = streamed.audit("audit-2", after_ms=MS_PER_HOUR)
    assert second is not None and (second.exit_code, second.repaired) == (0, 1)
    assert streamed.ledger() == [("rest", 290, 301, True)]
    [(time_ms, old, new, _, run_id)] = streamed.corrections()
    assert (time_ms, new, run_id) == (HALT.start_ms, None, "audit-2") and old is not None
    [gap] = streamed.stored.gaps()
    assert gap.span == Span(HALT.start_ms, HALT.start_ms + MS_PER_MINUTE)
    assert gap.status in (GapStatus.MISSING, GapStatus.NOT_AT_EXCHANGE)


@pytest.mark.parametrize("against", [AllowedSources.AUTO, AllowedSources.REST])
def test_an_ordinary_verify_fetches_streamed_candles_again_as_it_does_those_of_rest(
    streamed: Streamed, against: AllowedSources
) -> None:
    streamed.stream(0, 10, wrong=3)
    stored = streamed.stored
    stored.replay.clock.advance(MS_PER_MINUTE)
    found = []
    for may_repair in (False, True):
        stored.begin_run()
        options = VerifyOptions("verify", against, may_repair, False, None, None, TimeRange(BEGIN_MS), witness=False)
        rows, now_ms = [stored.catalog_row()], stored.replay.clock.now_ms
        [result] = run_verify(stored.database, stored.exchange, rows, options, now_ms, VerifyObserver()).results
        found.append((result.exit_code, result.differing, result.repaired))
        if not may_repair:
            assert streamed.ledger() == [("stream", 0, 10, False)] and streamed.corrections() == []
    assert found == [(3, 1, 0), (0, 1, 1)]
    assert stored.rows() == streamed.truth(10)


def test_an_exchange_that_is_away_leaves_all_to_the_next_audit(streamed: Streamed) -> None:
    streamed.stream(0, 10)
    streamed.stored.replay.faults.add("/klines", Answer(403), times=MANY)
    result = streamed.audit()
    assert result is not None and result.error is not None
    assert streamed.ledger() == [("stream", 0, 10, False)]
    streamed.stored.replay.faults.clear()
    streamed.audit()
    assert streamed.ledger() == [("stream", 0, 10, True)]


def test_a_hole_between_two_rows_stays_a_hole_for_the_heal(streamed: Streamed) -> None:
    streamed.stream(0, 10)
    streamed.stream(15, 20)
    result = streamed.audit()
    assert result is not None and (result.exit_code, result.verified) == (0, 2)
    assert streamed.ledger() == [("stream", 0, 10, True), ("stream", 15, 20, True)]
    streamed.stored.backfill()
    assert [one[:3] for one in streamed.ledger()][:3] == [("stream", 0, 10), ("rest", 10, 15), ("stream", 15, 20)]
    assert streamed.stored.rows()[: 60 + 20] == streamed.truth(20)
    assert streamed.stored.check().is_complete


def test_a_series_that_another_run_is_working_on_is_left_to_the_next_audit(
    streamed: Streamed, database_url: str
) -> None:
    streamed.stream(0, 10)
    other = Database.connect(database_url, {}, "other")
    with other.transaction("lock") as tx:
        assert try_lock_series(tx, [streamed.stored.series_id])
    result = streamed.audit()
    assert result is not None and result.is_locked
    other.close()
    assert streamed.ledger() == [("stream", 0, 10, False)]
    result = streamed.audit()
    assert result is not None and result.exit_code == 0
    assert streamed.ledger() == [("stream", 0, 10, True)]


def test_a_stream_goes_on_after_its_audit(streamed: Streamed) -> None:
    for hour in range(4):
        streamed.stream(hour * 60, hour * 60 + 60)
        streamed.audit(after_ms=0)
    streamed.stream(240, 241)
    streamed.audit()
    assert all(verified for *_, verified in streamed.ledger())
    assert {one.source for one in streamed.entries()} == {Source.REST, Source.STREAM}
    assert streamed.stored.rows() == streamed.truth(241)
    assert streamed.stored.check().is_complete


def test_rows_that_no_run_has_fetched_are_none_of_the_audit_s(streamed: Streamed) -> None:
    streamed.stream(0, 10)
    streamed.stored.execute(
        "insert into {table} select time + interval '1 year', open, high, low, close, volume,"
        " quote_volume, trades, taker_buy_volume, taker_buy_quote_volume from {table} limit 1"
    )
    before = streamed.stored.rows()
    result = streamed.audit()
    assert result is not None and (result.exit_code, result.repaired) == (0, 0)
    assert streamed.stored.rows() == before


def test_what_a_stream_that_is_gone_has_left_is_audited_by_a_backfill_later(streamed: Streamed) -> None:
    stored, clock = streamed.stored, streamed.stored.replay.clock
    streamed.stream(0, 3)

    def provisional_after(ms: int) -> int:
        clock.advance(ms)
        stored.begin_run()
        audit_left_behind(stored.database, stored.exchange, "backfill", clock.now_ms)
        with stored.database.transaction("read") as tx:
            return sum(entry.is_provisional for entry in load_entries(tx, stored.series_id, stored.table))

    assert provisional_after(60 * MS_PER_MINUTE) == 1  # a stream that runs would audit it itself about now
    assert provisional_after(40 * MS_PER_MINUTE) == 0
