from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.binance.rules import BinanceRules
from core.gaps import Answer, Event, EventKind, Gap, GapStatus, Reason, apply_answers, new_gap
from core.ranges import Span
from core.series import Series, parse_series
from core.sources import Source
from core.times import MS_PER_HOUR, MS_PER_MINUTE, parse_time
from core.wanted import WantedSeries
from db.catalog import sync_symbols
from db.connection import Database, Transaction
from db.gaps import load_open_gaps, save_gaps

BTC, ETH = parse_series("BTCUSDT"), parse_series("um:ETHUSDT/1h")
START_MS = parse_time("2024-03-01")
NOW_MS = parse_time("2024-03-05T12:34:56.789")

moments = st.integers(parse_time("2017-08-17"), parse_time("2099-01-01"))
spans = st.tuples(moments, st.integers(1, 10_000_000_000)).map(lambda pair: Span(pair[0], pair[0] + pair[1]))
# PostgreSQL text holds every character but the null; lone surrogates are no characters.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
answers = st.builds(
    Answer,
    st.sampled_from([one for one in Source if one.gives_answers]),
    spans,
    moments,
    moments,
    st.integers(1, 2**31 - 1),
    st.none() | texts,
)
events = st.builds(Event, moments, st.sampled_from(EventKind), texts)
gaps_of_any_kind = st.builds(
    Gap,
    spans,
    moments,
    moments,
    st.sampled_from(GapStatus),
    st.lists(answers, max_size=4).map(tuple),
    st.lists(events, max_size=4).map(tuple),
    st.none() | moments,
    st.integers(0, 2**31 - 1),
    st.none() | st.sampled_from(Reason),
    st.none() | texts,
)


def enter(database: Database, series: Series = BTC) -> int:
    with database.transaction("enter") as tx:
        return sync_symbols(tx, [WantedSeries(series)], replaces_catalog=False)[series].id


def minutes(first: int, last: int) -> Span:
    return Span(START_MS + first * MS_PER_MINUTE, START_MS + last * MS_PER_MINUTE)


def saved(database: Database, series_id: int, gaps: Sequence[Gap]) -> list[Gap]:
    """Return `gaps` as they are after they were stored."""
    with database.transaction("save") as tx:
        save_gaps(tx, series_id, [], gaps)
        return load_open_gaps(tx, series_id)


def row_versions(tx: Transaction) -> dict[int, str]:
    """Return which transaction wrote each gap's row, by id."""
    tx.cursor.execute("select id, xmin::text from public.ohlcv_gaps")
    return dict(tx.cursor.fetchall())


@given(gaps=st.lists(gaps_of_any_kind, min_size=1, max_size=4, unique_by=lambda gap: gap.span.start_ms))
def test_gaps_come_back_from_the_database_as_they_went_in(database: Database, gaps: list[Gap]) -> None:
    series_id = enter(database)
    with database.transaction("save") as tx:
        tx.cursor.execute("delete from public.ohlcv_gaps")
        save_gaps(tx, series_id, [], gaps)
        # Healed gaps are history and never loaded; as another status they are read back like the others.
        tx.cursor.execute("update public.ohlcv_gaps set status = 'missing' where status = 'healed'")
        loaded = load_open_gaps(tx, series_id)
    healed_as_missing = [replace(g, status=GapStatus.MISSING) if g.status is GapStatus.HEALED else g for g in gaps]
    assert [replace(gap, id=None) for gap in loaded] == sorted(healed_as_missing, key=lambda gap: gap.span)
    assert None not in [gap.id for gap in loaded]


def test_a_gaps_life_is_readable_for_whoever_looks_at_the_row(database: Database) -> None:
    series_id = enter(database)
    answer = Answer(Source.ARCHIVE_DAILY, minutes(0, 5), NOW_MS, NOW_MS + 1, 2, "abc")
    gap = replace(new_gap(minutes(0, 5), NOW_MS), answers=(answer,))
    with database.transaction("save") as tx:
        save_gaps(tx, series_id, [], [gap])
        tx.cursor.execute("select gap_start::text, gap_end::text, status, evidence, history from public.ohlcv_gaps")
        assert tx.cursor.fetchone() == (
            "2024-03-01 00:00:00+00",
            "2024-03-01 00:05:00+00",
            "missing",
            [
                {
                    "source": "archive-daily",
                    "answer": "no candle",
                    "start": "2024-03-01T00:00:00Z",
                    "end": "2024-03-01T00:05:00Z",
                    "first_asked": "2024-03-05T12:34:56.789Z",
                    "last_asked": "2024-03-05T12:34:56.790Z",
                    "times": 2,
                    "archive_checksum": "abc",
                }
            ],
            [{"at": "2024-03-05T12:34:56.789Z", "kind": "found", "event": "found"}],
        )


def test_healed_gaps_stay_in_the_table_but_are_not_open(database: Database) -> None:
    series_id = enter(database)
    kinds = [
        Gap(minutes(10 * i, 10 * i + 5), NOW_MS, NOW_MS, status)
        for i, status in enumerate([GapStatus.MISSING, GapStatus.HEALED, GapStatus.NOT_AT_EXCHANGE])
    ]
    assert [gap.status for gap in saved(database, series_id, kinds)] == [GapStatus.MISSING, GapStatus.NOT_AT_EXCHANGE]
    with database.transaction("count") as tx:
        assert len(row_versions(tx)) == 3


@pytest.mark.parametrize(
    ("span", "found"),
    [
        (minutes(0, 10), []),  # ends where the first gap begins
        (minutes(0, 11), [10]),
        (minutes(12, 13), [10]),  # inside
        (minutes(14, 31), [10, 30]),
        (minutes(15, 30), []),  # between the two, touching both
        (minutes(34, 90), [30]),
        (minutes(35, 90), []),
        (None, [10, 30]),
    ],
)
def test_gaps_that_share_a_moment_with_a_span_are_loaded(
    database: Database, span: Span | None, found: list[int]
) -> None:
    series_id = enter(database)
    saved(database, series_id, [new_gap(minutes(30, 35), NOW_MS), new_gap(minutes(10, 15), NOW_MS)])
    with database.transaction("read") as tx:
        loaded = load_open_gaps(tx, series_id, span)
    assert [(gap.span.start_ms - START_MS) // MS_PER_MINUTE for gap in loaded] == found


def test_every_series_has_its_own_gaps(database: Database) -> None:
    btc_id, eth_id = enter(database), enter(database, ETH)
    of_btc = saved(database, btc_id, [new_gap(minutes(0, 5), NOW_MS)])
    of_eth = saved(database, eth_id, [new_gap(minutes(0, 60), NOW_MS)])
    with database.transaction("drop") as tx:
        save_gaps(tx, btc_id, of_btc, [])
        assert load_open_gaps(tx, btc_id) == []
        assert load_open_gaps(tx, eth_id) == of_eth


def test_only_the_difference_is_written(database: Database) -> None:
    series_id = enter(database)
    same, changed, gone, unseen = saved(
        database, series_id, [new_gap(minutes(10 * i, 10 * i + 5), NOW_MS) for i in range(4)]
    )
    with database.transaction("save again") as tx:
        before = row_versions(tx)
        as_absent = replace(
            changed, status=GapStatus.NOT_AT_EXCHANGE, rechecks=1, next_recheck_ms=None, reason=Reason.HALT
        )
        brand_new = new_gap(minutes(90, 95), NOW_MS)
        save_gaps(tx, series_id, [same, changed, gone], [same, as_absent, brand_new])
        after = row_versions(tx)
        loaded = load_open_gaps(tx, series_id)
    assert loaded == [same, as_absent, unseen, replace(brand_new, id=loaded[-1].id)]
    assert (after[same.id], after[unseen.id]) == (before[same.id], before[unseen.id])
    assert after[changed.id] != before[changed.id]
    assert gone.id not in after


def test_nothing_is_written_when_nothing_changed(database: Database) -> None:
    series_id = enter(database)
    gaps = saved(database, series_id, [new_gap(minutes(0, 5), NOW_MS), new_gap(minutes(10, 15), NOW_MS)])
    with database.transaction("save again") as tx:
        before = row_versions(tx)
        save_gaps(tx, series_id, gaps, gaps)
        assert row_versions(tx) == before


def test_a_gap_that_is_healed_in_its_middle_becomes_three_rows_of_which_the_first_keeps_its_id(
    database: Database,
) -> None:
    series_id = enter(database)
    before = saved(database, series_id, [new_gap(minutes(0, 30), NOW_MS)])
    after = apply_answers(before, [minutes(10, 20)], [], BinanceRules(BTC, 1000), NOW_MS + MS_PER_HOUR, "rest, run r")
    with database.transaction("save") as tx:
        save_gaps(tx, series_id, before, after)
        loaded = load_open_gaps(tx, series_id)
        tx.cursor.execute("select status, history from public.ohlcv_gaps where gap_start = '2024-03-01 00:10Z'")
        status, history = tx.cursor.fetchone()
    assert [gap.span for gap in loaded] == [minutes(0, 10), minutes(20, 30)]
    assert loaded[0].id == before[0].id
    assert status == "healed"
    assert [event["event"] for event in history] == [
        "found",
        "split from 2024-03-01 .. 2024-03-01T00:30Z",
        "healed: rest, run r",
    ]
