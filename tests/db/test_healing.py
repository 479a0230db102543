from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random

import pytest
from candles import batch_of, generated_batch, save_spans, stored_rows, truth_rows
from servers import HAS_TIMESCALE

from core.candles import CandleBatch, content_hash
from core.fetched import FetchedSpan
from core.ranges import Span, merge
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_MINUTE, parse_time, to_datetime
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.commit import CommitContext
from db.connection import Database
from db.healing import save_healed
from db.ledger import LedgerEntry, hash_stored, load_entries
from db.operations import SaveResult
from db.schema import create_table_if_not_exists
from demo.generated_market import generate_series

BTC, ETH = parse_series("BTCUSDT"), parse_series("um:ETHUSDT")
START_MS, NOW_MS = parse_time("2024-03-01"), parse_time("2024-03-02")


def minutes(first: int, last: int) -> Span:
    return Span(START_MS + first * MS_PER_MINUTE, START_MS + last * MS_PER_MINUTE)


HOUR = minutes(0, 60)
TRUTH = generated_batch(BTC, HOUR)


def without(batch: CandleBatch, *spans: Span) -> CandleBatch:
    return batch.at([ms for ms in batch.open_times() if not any(s.start_ms <= ms < s.end_ms for s in spans)])


def commit(
    database: Database,
    batch: CandleBatch = TRUTH,
    pieces: Sequence[Span] = (HOUR,),
    series: Series = BTC,
) -> int:
    """Store `batch` as a backfill does, an entry from a daily archive for each of `pieces`; return the series' id."""
    fetched = [FetchedSpan(one, batch.within(one), Source.ARCHIVE_DAILY, "sum") for one in pieces]
    with database.transaction("commit") as tx:
        row = sync_symbols(tx, [WantedSeries(series)], replaces_catalog=False)[series]
        create_table_if_not_exists(tx, series, timescale=HAS_TIMESCALE, compress_after_days=0)
        save_spans(tx, row.id, series.table_name, fetched, "first", NOW_MS)
    return row.id


def heal(
    database: Database,
    series_id: int,
    *spans: Span,
    truth: CandleBatch = TRUTH,
    series: Series = BTC,
    came_late: bool = False,
) -> SaveResult:
    fetched = [FetchedSpan(span, truth.within(span), Source.REST) for span in spans]
    with database.transaction("heal") as tx:
        return save_healed(tx, CommitContext(series_id, series.table_name, "heal", NOW_MS + 1), fetched, came_late)


def entries(database: Database, series_id: int, series: Series = BTC) -> list[LedgerEntry]:
    with database.transaction("read") as tx:
        return load_entries(tx, series_id, series.table_name)


def lose(database: Database, *spans: Span) -> None:
    """Delete candles as somebody else would, by hand."""
    for span in spans:
        execute(database, "delete from public.ohlcv_btcusdt where time >= %s and time < %s", span.start_ms, span.end_ms)


def alter(database: Database, time_ms: int) -> None:
    execute(database, "update public.ohlcv_btcusdt set volume = volume + 1 where time = %s", time_ms)


def execute(database: Database, statement: str, *moments: int) -> None:
    with database.transaction("execute") as tx:
        tx.cursor.execute(statement, [to_datetime(ms) for ms in moments])


def told(entry: LedgerEntry) -> tuple[Span, str, str | None, str, int, str | None, bool]:
    """Return what an entry says, in short."""
    return (
        entry.span,
        entry.source.value,
        entry.archive_checksum,
        entry.run_id,
        entry.rows,
        entry.content_hash,
        entry.is_hash_checked,
    )


def of_archive(
    span: Span, batch: CandleBatch = TRUTH, *, is_known: bool = True
) -> tuple[Span, str, str, str, int, str | None, bool]:
    """Return what an entry of the first commit says."""
    part = batch.within(span)
    return span, "archive-daily", "sum", "first", part.rows, content_hash(part) if is_known else None, is_known


def unproven(span: Span) -> tuple[Span, str, str, str, int, str | None, bool]:
    """Return what an entry of the first commit says whose candles are not what was committed."""
    part = TRUTH.within(span)
    return span, "archive-daily", "sum", "first", part.rows, content_hash(part), False


def of_rest(
    span: Span, batch: CandleBatch = TRUTH, *, is_hash_checked: bool = True
) -> tuple[Span, str, None, str, int, str, bool]:
    """Return what an entry that was made by healing says."""
    part = batch.within(span)
    return span, "rest", None, "heal", part.rows, content_hash(part), is_hash_checked


def assert_whole(database: Database) -> None:
    with database.transaction("read") as tx:
        assert stored_rows(tx, BTC.table_name) == truth_rows(list(generate_series(BTC, HOUR, 1)))


def test_lost_candles_come_back_and_the_entry_is_as_it_was(database: Database) -> None:
    series_id = commit(database)
    before = entries(database, series_id)
    lose(database, minutes(10, 13), minutes(40, 41))
    assert [entry.is_hash_checked for entry in entries(database, series_id)] == [False]
    assert heal(database, series_id, minutes(10, 13), minutes(40, 41)) == SaveResult(inserted=4)
    assert entries(database, series_id) == before
    assert before[0].is_hash_checked
    assert_whole(database)


def test_an_entry_of_which_only_some_lost_candles_came_back_still_tells_what_was_committed(database: Database) -> None:
    series_id = commit(database)
    lose(database, minutes(10, 13), minutes(40, 41))
    heal(database, series_id, minutes(10, 13))
    assert [told(entry) for entry in entries(database, series_id)] == [unproven(HOUR)]
    heal(database, series_id, minutes(40, 41))
    assert [told(entry) for entry in entries(database, series_id)] == [of_archive(HOUR)]


def test_candles_that_were_published_late_get_an_entry_of_their_own(database: Database) -> None:
    series_id = commit(database, without(TRUTH, minutes(20, 30)))
    assert heal(database, series_id, minutes(20, 30), came_late=True) == SaveResult(inserted=10)
    assert [told(entry) for entry in entries(database, series_id)] == [
        of_archive(minutes(0, 20)),
        of_rest(minutes(20, 30)),
        of_archive(minutes(30, 60)),
    ]
    assert_whole(database)


def test_the_new_entry_is_the_whole_span_that_was_asked_also_where_it_stayed_empty(database: Database) -> None:
    series_id = commit(database, without(TRUTH, minutes(20, 30)))
    truth = without(TRUTH, minutes(22, 30))
    heal(database, series_id, minutes(20, 30), truth=truth, came_late=True)
    assert [told(entry) for entry in entries(database, series_id)] == [
        of_archive(minutes(0, 20)),
        of_rest(minutes(20, 30), truth),
        of_archive(minutes(30, 60)),
    ]
    assert entries(database, series_id)[1].rows == 2


def test_late_candles_at_both_ends_of_an_entry_leave_its_middle(database: Database) -> None:
    ends = minutes(0, 5), minutes(55, 60)
    series_id = commit(database, without(TRUTH, *ends))
    heal(database, series_id, *ends, came_late=True)
    assert [told(entry) for entry in entries(database, series_id)] == [
        of_rest(minutes(0, 5)),
        of_archive(minutes(5, 55)),
        of_rest(minutes(55, 60)),
    ]


def test_an_entry_that_is_fetched_whole_is_replaced(database: Database) -> None:
    series_id = commit(database, without(TRUTH, minutes(20, 30)))
    assert heal(database, series_id, HOUR, came_late=True) == SaveResult(inserted=10, equal=50)
    assert [told(entry) for entry in entries(database, series_id)] == [of_rest(HOUR)]


def test_lost_candles_that_come_before_the_late_ones_leave_every_hash_known(database: Database) -> None:
    series_id = commit(database, without(TRUTH, minutes(20, 30)))
    lose(database, minutes(40, 45))
    heal(database, series_id, minutes(40, 45))
    heal(database, series_id, minutes(20, 30), came_late=True)
    assert [told(entry) for entry in entries(database, series_id)] == [
        of_archive(minutes(0, 20)),
        of_rest(minutes(20, 30)),
        of_archive(minutes(30, 60)),
    ]
    assert_whole(database)


def test_late_candles_that_come_before_the_lost_ones_leave_no_hash_over_the_hole(database: Database) -> None:
    series_id = commit(database, without(TRUTH, minutes(20, 30)))
    lose(database, minutes(40, 45))
    heal(database, series_id, minutes(20, 30), came_late=True)
    holed = without(TRUTH, minutes(40, 45))
    assert [told(entry) for entry in entries(database, series_id)] == [
        of_archive(minutes(0, 20), is_known=False),
        of_rest(minutes(20, 30)),
        of_archive(minutes(30, 60), holed, is_known=False),
    ]
    heal(database, series_id, minutes(40, 45))
    assert [told(entry) for entry in entries(database, series_id)] == [
        of_archive(minutes(0, 20), is_known=False),
        of_rest(minutes(20, 30)),
        of_archive(minutes(30, 40), is_known=False),
        of_rest(minutes(40, 45)),
        of_archive(minutes(45, 60), is_known=False),
    ]
    assert_whole(database)


def test_an_altered_candle_is_never_hashed(database: Database) -> None:
    series_id = commit(database, without(TRUTH, minutes(20, 30)))
    alter(database, minutes(50, 51).start_ms)
    assert heal(database, series_id, minutes(20, 30), came_late=True) == SaveResult(inserted=10)
    assert [told(entry) for entry in entries(database, series_id)] == [
        of_archive(minutes(0, 20), is_known=False),
        of_rest(minutes(20, 30)),
        of_archive(minutes(30, 60), is_known=False),
    ]


def test_lost_candles_beside_an_altered_one_do_not_make_the_entry_proven(database: Database) -> None:
    series_id = commit(database)
    alter(database, minutes(50, 51).start_ms)
    lose(database, minutes(10, 12))
    heal(database, series_id, minutes(10, 12))
    assert [told(entry) for entry in entries(database, series_id)] == [unproven(HOUR)]


def test_an_altered_candle_inside_what_was_fetched_is_a_conflict_and_stays(database: Database) -> None:
    series_id = commit(database)
    alter(database, minutes(11, 12).start_ms)
    lose(database, minutes(10, 11))
    result = heal(database, series_id, minutes(10, 12))
    assert (result.inserted, result.equal, result.conflicts) == (1, 0, 1)
    assert "2024-03-01T00:11:00+00:00: volume stored" in str(result.shown_conflicts[0])
    assert [told(entry) for entry in entries(database, series_id)] == [unproven(HOUR)]


def test_a_conflict_without_a_lost_candle_changes_nothing_in_the_ledger(database: Database) -> None:
    series_id = commit(database)
    alter(database, minutes(11, 12).start_ms)
    before = entries(database, series_id)
    result = heal(database, series_id, minutes(10, 12))
    assert (result.inserted, result.equal, result.conflicts) == (0, 1, 1)
    assert entries(database, series_id) == before
    assert not before[0].is_hash_checked


def test_candles_that_are_all_there_change_nothing(database: Database) -> None:
    series_id = commit(database)
    with database.transaction("read") as tx:
        tx.cursor.execute("select xmin, * from public.ohlcv_ledger")
        before = tx.cursor.fetchall()
    assert heal(database, series_id, minutes(10, 20)) == SaveResult(equal=10)
    with database.transaction("read") as tx:
        tx.cursor.execute("select xmin, * from public.ohlcv_ledger")
        assert tx.cursor.fetchall() == before


def test_nothing_fetched_is_nothing_done(database: Database) -> None:
    series_id = commit(database)
    assert heal(database, series_id) == SaveResult()


def test_an_empty_answer_inside_an_entry_changes_nothing(database: Database) -> None:
    truth = without(TRUTH, minutes(20, 30))
    series_id = commit(database, truth)
    before = entries(database, series_id)
    assert heal(database, series_id, minutes(20, 30), truth=truth) == SaveResult()
    assert entries(database, series_id) == before


def test_what_the_ledger_does_not_cover_is_entered(database: Database) -> None:
    series_id = commit(database, pieces=[minutes(10, 20), minutes(40, 50)])
    lose(database, minutes(18, 20))
    heal(database, series_id, minutes(5, 45))
    assert [told(entry) for entry in entries(database, series_id)] == [
        of_rest(minutes(5, 10)),
        of_archive(minutes(10, 20)),
        of_rest(minutes(20, 40)),
        of_archive(minutes(40, 50)),
    ]


def test_an_empty_answer_outside_the_ledger_is_entered_too(database: Database) -> None:
    truth = TRUTH.within(minutes(0, 20))
    series_id = commit(database, pieces=[minutes(0, 20)])
    heal(database, series_id, minutes(20, 30), truth=truth, came_late=True)
    assert [told(entry) for entry in entries(database, series_id)] == [
        of_archive(minutes(0, 20)),
        of_rest(minutes(20, 30), truth),
    ]


def test_one_answer_heals_two_entries_each_in_its_way(database: Database) -> None:
    """The first had lost candles, the second gets late ones, the third was whole all along."""
    pieces = [minutes(0, 20), minutes(20, 40), minutes(40, 60)]
    series_id = commit(database, without(TRUTH, minutes(20, 25)), pieces)
    before = entries(database, series_id)
    lose(database, minutes(15, 20))
    heal(database, series_id, minutes(15, 45))
    after = entries(database, series_id)
    assert after[0] == before[0]
    assert [told(entry) for entry in after[1:]] == [of_rest(minutes(20, 40)), of_archive(minutes(40, 60))]
    assert after[-1].id == before[-1].id


def test_the_entries_of_another_series_with_the_same_spans_are_left_alone(database: Database) -> None:
    btc_id = commit(database, without(TRUTH, minutes(20, 30)))
    eth_truth = generated_batch(ETH, HOUR)
    eth_id = commit(database, without(eth_truth, minutes(20, 30)), series=ETH)
    before = entries(database, eth_id, ETH)
    heal(database, btc_id, minutes(20, 30))
    assert entries(database, eth_id, ETH) == before
    heal(database, eth_id, minutes(20, 30), truth=eth_truth, series=ETH)
    assert [entry.rows for entry in entries(database, eth_id, ETH)] == [20, 10, 30]
    assert [entry.rows for entry in entries(database, btc_id)] == [20, 10, 30]


def test_digits_of_healed_candles_are_the_exchanges(database: Database) -> None:
    series_id = commit(database, without(TRUTH, minutes(20, 21)))
    time_ms = minutes(20, 21).start_ms
    row = [time_ms, "1.500", "12345678901234567890.000000000000000010", "0.10", "2.00", "0.0", 0, "0.000", 0, "0", "0"]
    heal(database, series_id, minutes(20, 21), truth=batch_of([[*row, "0"]]))
    with database.transaction("read") as tx:
        assert stored_rows(tx, BTC.table_name)[20] == truth_rows([row])[0]


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 12))])
def test_whatever_happened_the_ledger_never_lies(database: Database, seed: int) -> None:
    """Random late, lost and altered candles, healed in random pieces: hashes are the exchange's or not known."""
    random = Random(seed)
    bounds = sorted(random.sample(range(0, 61), 4))
    pieces = [minutes(a, b) for a, b in itertools.pairwise(bounds)]
    late = [minutes(a, a + random.randint(1, 4)) for a in random.sample(range(56), 3)]
    committed = without(TRUTH, *late)
    series_id = commit(database, committed, pieces)
    lose(database, *(minutes(a, a + random.randint(1, 4)) for a in random.sample(range(56), random.randint(0, 2))))
    altered = minutes(first := random.randrange(60), first + 1).start_ms
    is_altered = random.random() < 0.5
    if is_altered:
        alter(database, altered)
    asked: list[Span] = []
    for _ in range(5):
        starts = sorted(random.sample(range(56), 2))
        spans = merge(minutes(a, a + random.randint(1, 5)) for a in starts)
        heal(database, series_id, *spans)
        asked += spans
        found = entries(database, series_id)
        assert merge(entry.span for entry in found) == merge([*pieces, *asked])
        for before, after in itertools.pairwise(found):
            assert before.span.end_ms <= after.span.start_ms
        with database.transaction("read") as tx:
            for entry in found:
                vouched = {content_hash(batch.within(entry.span)) for batch in (TRUTH, committed)}
                assert entry.content_hash is None or entry.content_hash in vouched
                if entry.content_hash is not None and entry.is_hash_checked:
                    assert hash_stored(tx, BTC.table_name, entry.span) == (entry.rows, entry.content_hash)
            stored = {row[0] for row in stored_rows(tx, BTC.table_name)}
        assert stored >= {ms for span in asked for ms in TRUTH.within(span).open_times()}
