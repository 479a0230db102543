"""Rounds of closed candles from streams: candles and ledger rows of many series in one transaction."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from candles import batch_of, save_spans, truth_rows
from stream_writer import BTC, ETH, RUN, SOL, START_MS, Writer
from timescale import needs_timescale

from core.candles import content_hash
from core.closed_round import ClosedCandle, Fate
from core.errors import DatabaseUnavailable
from core.fetched import FetchedSpan
from core.folding import FOLDED_ROWS
from core.ranges import subtract
from core.sources import Source
from core.times import MS_PER_MINUTE
from db.connection import Database
from db.ledger import set_verified, snapshot_of
from db.locks import try_lock_series, unlock_series


@pytest.fixture(params=["database", pytest.param("timescale", marks=needs_timescale)])
def writer(request: pytest.FixtureRequest) -> Writer:
    return Writer(request.getfixturevalue(request.param), timescale=request.param == "timescale")


def execute(database: Database, statement: str) -> None:
    with database.transaction("execute") as tx:
        tx.cursor.execute(statement)


def test_candles_of_many_series_are_stored_as_sent_and_covered(writer: Writer) -> None:
    everything = [writer.final(series, slot) for slot in (0, 1) for series in writer.ids]
    outcomes = writer.round(*everything)
    assert {one.fate for one in outcomes} == {Fate.STORED}
    assert [one.after_hole for one in outcomes] == [True, False] * 3
    for series in writer.ids:
        assert writer.rows(series) == truth_rows(writer.truth[series][:2])
        assert writer.ledger(series) == [("stream", 0, 2)]
        [entry] = writer.entries(series)
        assert entry.content_hash == content_hash(batch_of(writer.truth[series][:2]))
        assert (entry.run_id, entry.fetched_ms, entry.is_hash_checked) == (RUN.run_id, RUN.at_ms, True)


def test_a_row_is_extended_by_the_candle_that_follows_it_and_a_hole_begins_another(writer: Writer) -> None:
    for slot in range(3):
        [outcome] = writer.round(writer.final(BTC, slot))
        assert (outcome.fate, outcome.after_hole) == (Fate.STORED, slot == 0)
    [late] = writer.round(writer.final(BTC, 5))
    assert late.after_hole and late.is_covered
    assert writer.stream(BTC, 6) == [Fate.STORED]
    assert writer.ledger(BTC) == [("stream", 0, 3), ("stream", 5, 7)]
    [before] = writer.round(writer.final(BTC, 4))  # out of order: a row of its own, which the next does not extend
    assert before.after_hole
    assert writer.stream(BTC, 7) == [Fate.STORED]
    assert writer.ledger(BTC) == [("stream", 0, 3), ("stream", 4, 5), ("stream", 5, 7), ("stream", 7, 8)]


def test_what_came_before_is_equal_and_has_no_second_ledger_row(writer: Writer) -> None:
    writer.by_rest(BTC, 0, 10)
    assert writer.stream(BTC, 8, 9, 10, 10) == [Fate.EQUAL, Fate.EQUAL, Fate.STORED]
    assert writer.stream(BTC, 10, 11) == [Fate.EQUAL, Fate.STORED]
    assert writer.ledger(BTC) == [("rest", 0, 10), ("stream", 10, 12)]
    assert writer.rows(BTC) == truth_rows(writer.truth[BTC][:12])


def test_another_value_of_a_covered_candle_is_a_conflict_and_the_stored_one_stays(writer: Writer) -> None:
    writer.stream(BTC, 0)
    [outcome] = writer.round(writer.final(BTC, 0, trades=999_999))
    assert (outcome.fate, outcome.is_covered) == (Fate.CONFLICT, True)
    assert outcome.why == f"trades stored {writer.truth[BTC][0][8]} given 999999"
    assert writer.rows(BTC) == truth_rows(writer.truth[BTC][:1])
    assert writer.stream(BTC, 1) == [Fate.STORED]
    assert writer.ledger(BTC) == [("stream", 0, 2)]


def test_a_conflict_where_nothing_is_covered_leaves_the_slot_to_rest(writer: Writer) -> None:
    writer.stream(BTC, 0, 1, 2)
    execute(writer.database, f"delete from public.ohlcv_ledger where series_id = {writer.ids[BTC]}")
    outcomes = writer.round(writer.final(BTC, 0), writer.final(BTC, 1, trades=7), writer.final(BTC, 2))
    assert [one.fate for one in outcomes] == [Fate.EQUAL, Fate.CONFLICT, Fate.EQUAL]
    assert [one.is_covered for one in outcomes] == [True, False, True]
    assert [one.after_hole for one in outcomes] == [True, False, True]
    assert writer.ledger(BTC) == [("stream", 0, 1), ("stream", 2, 3)]
    assert writer.rows(BTC) == truth_rows(writer.truth[BTC][:3])


def test_two_values_in_one_round_are_a_conflict(writer: Writer) -> None:
    outcomes = writer.round(writer.final(BTC, 0), writer.final(BTC, 0, trades=7))
    first = writer.truth[BTC][0][8]
    assert {one.fate: one.candle.values[6] for one in outcomes} == {Fate.CONFLICT: 7, Fate.STORED: first}


def test_a_slot_that_rest_found_empty_is_not_filled_behind_the_ledger(writer: Writer) -> None:
    empty = FetchedSpan(writer.span(BTC, 0, 3), batch_of(writer.truth[BTC][:2]), Source.REST)
    with writer.database.transaction("save") as tx:
        save_spans(tx, writer.ids[BTC], BTC.table_name, [empty], "rest", START_MS)
    [outcome] = writer.round(writer.final(BTC, 2))
    assert (outcome.fate, outcome.is_covered) == (Fate.GAP, True)
    assert writer.ledger(BTC) == [("rest", 0, 3)]
    assert len(writer.rows(BTC)) == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"high": "0.00000001"}, "open or close lies outside low..high"),
        ({"low": "0.0"}, "a price is not above zero"),
        ({"volume": "1e5"}, "volume is not a plain decimal number"),
        ({"open": "NaN"}, "open is not a plain decimal number"),
        ({"close": ""}, "close is not a plain decimal number"),
        ({"trades": -1}, "trades is outside 0..2147483647"),
        ({"trades": 2**70}, "trades is outside 0..2147483647"),
    ],
)
def test_an_impossible_candle_is_refused_alone(database: Database, changes: dict[str, object], why: str) -> None:
    writer = Writer(database)
    refused, *stored = writer.round(writer.final(BTC, 0), writer.final(ETH, 0, **changes), writer.final(SOL, 0))
    assert (refused.candle.series, refused.fate, refused.why) == (ETH, Fate.IMPOSSIBLE, why)
    assert not refused.is_covered
    assert [(one.candle.series, one.fate) for one in stored] == [(BTC, Fate.STORED), (SOL, Fate.STORED)]
    assert writer.rows(ETH) == [] and writer.ledger(ETH) == []


def test_a_candle_off_the_grid_is_left_to_rest(database: Database) -> None:
    writer = Writer(database)
    moved = writer.final(BTC, 0)
    moved = ClosedCandle(moved.series_id, BTC, moved.open_ms + 1, moved.values)
    assert [(one.fate, one.why) for one in writer.round(moved)] == [(Fate.IMPOSSIBLE, "it opens off the grid")]
    assert writer.rows(BTC) == []


def test_a_series_that_another_run_works_on_is_busy_and_the_others_go_on(database: Database, database_url: str) -> None:
    writer = Writer(database)
    other = Database.connect(database_url, {}, "other")
    with other.transaction("lock") as tx:
        assert try_lock_series(tx, [writer.ids[ETH]])
    outcomes = writer.round(writer.final(BTC, 0), writer.final(ETH, 0))
    assert {one.candle.series: one.fate for one in outcomes} == {BTC: Fate.STORED, ETH: Fate.BUSY}
    other.close()
    assert writer.stream(ETH, 0) == [Fate.STORED]
    with database.transaction("look") as tx:
        tx.cursor.execute("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
        assert tx.cursor.fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("drop table public.ohlcv_ethusdt", "does not exist"),
        ("alter table public.ohlcv_ethusdt rename column close to last", "column"),
        ("alter table public.ohlcv_ethusdt drop constraint ohlcv_ethusdt_pkey", "no unique or exclusion constraint"),
        ("create rule away as on insert to public.ohlcv_ethusdt do instead nothing", "does not keep the candle of"),
    ],
)
def test_a_table_that_cannot_be_used_stops_no_other(database: Database, statement: str, said: str) -> None:
    writer = Writer(database)
    execute(database, statement)
    outcomes = {one.candle.series: one for one in writer.round(*(writer.final(one, 0) for one in writer.ids))}
    assert (outcomes[BTC].fate, outcomes[SOL].fate) == (Fate.STORED, Fate.STORED)
    assert outcomes[ETH].fate is Fate.FAILED and said in outcomes[ETH].why
    assert "um:SOLUSDT" not in outcomes[ETH].why and "ETHUSDT" in outcomes[ETH].why
    assert writer.ledger(BTC) == writer.ledger(SOL) == [("stream", 0, 1)]
    assert writer.entries(ETH) == []


def test_a_table_that_somebody_holds_back_stops_no_other(database: Database, database_url: str) -> None:
    writer = Writer(database)
    other = Database.connect(database_url, {}, "other")
    with other.transaction("hold") as tx:
        tx.cursor.execute("lock table public.ohlcv_ethusdt in access exclusive mode")
        outcomes = {one.candle.series: one for one in writer.round(*(writer.final(one, 0) for one in writer.ids))}
    other.close()
    assert (outcomes[BTC].fate, outcomes[SOL].fate, outcomes[ETH].fate) == (Fate.STORED, Fate.STORED, Fate.FAILED)
    assert "55P03" in outcomes[ETH].why
    assert writer.stream(ETH, 0) == [Fate.STORED]


def test_a_ledger_that_somebody_holds_back_fails_all_at_once(database: Database, database_url: str) -> None:
    writer = Writer(database)
    other = Database.connect(database_url, {}, "other")
    with other.transaction("hold") as tx:
        tx.cursor.execute("lock table public.ohlcv_ledger in share mode")
        outcomes = writer.round(*(writer.final(one, 0) for one in writer.ids))
    other.close()
    assert {one.fate for one in outcomes} == {Fate.FAILED} and all("55P03" in one.why for one in outcomes)
    assert {one.why.split(" in ")[0] for one in outcomes} == {"cannot store the closed candles of 3 series"}  # one wait
    assert {one.fate for one in writer.round(*(writer.final(one, 0) for one in writer.ids))} == {Fate.STORED}


def test_after_a_database_that_was_gone_the_round_is_given_again(database: Database, database_url: str) -> None:
    writer = Writer(database)
    writer.stream(BTC, 0)
    database.close()
    with pytest.raises(DatabaseUnavailable):
        writer.stream(BTC, 1)
    writer.database = Database.connect(database_url, {}, "again")
    assert writer.stream(BTC, 0, 1) == [Fate.EQUAL, Fate.STORED]
    assert writer.ledger(BTC) == [("stream", 0, 2)]
    writer.database.close()


def test_a_commit_of_which_nobody_heard_is_found_by_the_next_round(database: Database) -> None:
    writer = Writer(database)
    writer.stream(BTC, 0, 1)
    remembered = dict(writer.open_rows)
    writer.stream(BTC, 2)
    writer.open_rows = remembered  # the connection broke at the commit: as far as the process knows nothing came of it
    assert writer.stream(BTC, 2, 3) == [Fate.EQUAL, Fate.STORED]
    assert writer.ledger(BTC) == [("stream", 0, 3), ("stream", 3, 4)]


def test_two_writers_and_a_backfill_at_once_leave_one_truth(database: Database, database_url: str) -> None:
    minutes, everything = 30, (BTC, ETH, SOL)
    first = Writer(database)
    others = [Writer(Database.connect(database_url, {}, name)) for name in ("second", "rest")]

    def stream(writer: Writer) -> None:
        for slot in range(minutes):
            left = list(everything)
            while left:  # what is busy is given again
                outcomes = writer.round(*(writer.final(series, slot) for series in left))
                left = [one.candle.series for one in outcomes if one.fate is Fate.BUSY]
                assert {one.fate for one in outcomes} <= {Fate.STORED, Fate.EQUAL, Fate.BUSY}

    def fetch(writer: Writer) -> None:
        for end in range(5, minutes, 5):
            for series in everything:
                with writer.database.transaction("lock") as tx:
                    if not try_lock_series(tx, [writer.ids[series]]):
                        continue
                covered = [entry.span for entry in writer.entries(series)]
                for part in subtract([writer.span(series, 0, end)], covered):
                    low, high = (series.interval.count(START_MS, ms) for ms in (part.start_ms, part.end_ms))
                    writer.by_rest(series, low, high)
                with writer.database.transaction("unlock") as tx:
                    unlock_series(tx, [writer.ids[series]])

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(stream, first), pool.submit(stream, others[0]), pool.submit(fetch, others[1])]:
            done.result(timeout=60)
    for series in everything:
        assert first.rows(series) == truth_rows(first.truth[series][:minutes])
        ends = [(low, high) for _, low, high in first.ledger(series)]
        assert ends[0][0] == 0 and ends[-1][1] == minutes
        assert all(before[1] == after[0] for before, after in pairwise(ends))
    for one in others:
        one.database.close()


def test_after_a_restart_a_new_row_begins(database: Database) -> None:
    writer = Writer(database)
    writer.stream(BTC, 0, 1)
    writer.open_rows.clear()
    writer.stream(BTC, 2)
    writer.stream(BTC, 3)
    assert writer.ledger(BTC) == [("stream", 0, 2), ("stream", 2, 4)]


def test_a_row_ends_at_a_day_of_minutes(database: Database) -> None:
    writer = Writer(database)
    writer.stream(BTC, *range(FOLDED_ROWS - 1))
    writer.stream(BTC, FOLDED_ROWS - 1)
    writer.stream(BTC, FOLDED_ROWS)
    assert writer.ledger(BTC) == [("stream", 0, FOLDED_ROWS), ("stream", FOLDED_ROWS, FOLDED_ROWS + 1)]


@pytest.mark.parametrize(
    "statement",
    [
        "update public.ohlcv_ledger set verified_at = now()",
        "update public.ohlcv_ledger set witnessed_at = now()",
        "update public.ohlcv_ledger set contradicted = 1",
        "update public.ohlcv_ledger set content_hash = 'other'",
        "update public.ohlcv_ledger set source = 'rest'",
    ],
)
def test_a_row_that_was_looked_at_or_changed_meanwhile_is_not_extended(database: Database, statement: str) -> None:
    writer = Writer(database)
    writer.stream(BTC, 0, 1)
    execute(database, statement)
    writer.stream(BTC, 2)
    first, second = writer.entries(BTC)
    assert (first.span, second.span) == (writer.span(BTC, 0, 2), writer.span(BTC, 2, 3))


def test_a_change_by_hand_is_not_hidden_by_the_next_candle(database: Database) -> None:
    writer = Writer(database)
    writer.stream(BTC, 0, 1)
    execute(database, "update public.ohlcv_btcusdt set close = close + 1 where time = '2024-03-01T00:00Z'")
    writer.stream(BTC, 2)
    [entry] = writer.entries(BTC)
    assert entry.span == writer.span(BTC, 0, 3)
    assert not entry.is_hash_checked
    assert entry.content_hash == content_hash(batch_of(writer.truth[BTC][:3]))  # what was committed, not what is there


def test_a_verified_row_stays_as_it_is(database: Database) -> None:
    writer = Writer(database)
    writer.stream(BTC, 0, 1)
    with database.transaction("verify") as tx:
        set_verified(tx, writer.ids[BTC], writer.span(BTC, 0, 2), START_MS, "rest", snapshot_of(tx))
    [outcome] = writer.round(writer.final(BTC, 0, trades=7))
    assert outcome.fate is Fate.CONFLICT
    writer.stream(BTC, 2)
    assert writer.ledger(BTC) == [("stream", 0, 2), ("stream", 2, 3)]


def test_a_round_of_nothing_does_nothing(database: Database) -> None:
    assert Writer(database).round() == []


def test_more_series_than_one_transaction_takes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(database)
    monkeypatch.setattr("db.closed_candles._SERIES_AT_ONCE", 2)
    outcomes = writer.round(*(writer.final(one, slot) for slot in range(5) for one in writer.ids))
    assert [one.fate for one in outcomes] == [Fate.STORED] * 15
    assert all(writer.ledger(one) == [("stream", 0, 5)] for one in writer.ids)
    assert set(writer.open_rows) == set(writer.ids.values())
    [row] = {one.rows for one in writer.open_rows.values()}
    assert row == 5


def test_minutes_follow_each_other_in_every_interval(database: Database) -> None:
    writer = Writer(database)
    assert writer.stream(SOL, 0, 1, 3) == [Fate.STORED] * 3
    assert writer.ledger(SOL) == [("stream", 0, 2), ("stream", 3, 4)]
    assert SOL.interval.step_ms == 5 * MS_PER_MINUTE
