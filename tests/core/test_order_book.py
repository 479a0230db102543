"""Order books, kept by changes that are lost, doubled and swapped."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from core.market_data import BookChange, BookSnapshot
from core.order_book import MOST_BUFFERED, BookFault, BookRule, OrderBook
from tests.core.book_world import BookWorld

SHOWN = 10
LIMIT = 16

RULES = pytest.mark.parametrize("rule", list(BookRule))


def _spot(first: int, last: int, *bids: tuple[str, str], ms: int | None = None) -> BookChange:
    return BookChange(last if ms is None else ms, first, last, None, bids, ())


def _futures(first: int, last: int, previous: int, *bids: tuple[str, str]) -> BookChange:
    return BookChange(last, first, last, previous, bids, ())


def _snapshot(last: int, bids: int = 20, limit: int = 1000) -> BookSnapshot:
    levels = [(f"{100 - step}.0", "1.0") for step in range(bids)]
    return BookSnapshot(last, limit, levels, [("101.0", "1.0")])


def _ready(rule: BookRule) -> OrderBook:
    book = OrderBook(rule, 1)
    book.begin(_snapshot(100))
    book.take(_spot(101, 105) if rule is BookRule.SPOT else _futures(103, 105, 100))
    assert book.is_ready and book.last_id == 105
    return book


class TestTheFirstChangeAfterASnapshot:
    @pytest.mark.parametrize(("first", "last"), [(101, 101), (101, 110), (90, 101), (50, 300)])
    def test_on_spot_it_reaches_the_snapshot_or_begins_right_after_it(self, first: int, last: int) -> None:
        book = OrderBook(BookRule.SPOT, 1)
        book.take(_spot(first, last, ("99.5", "7.0")))
        assert book.begin(_snapshot(100)) is None
        assert book.is_ready and book.last_id == last
        assert book.best(2)[0] == (("100.0", "1.0"), ("99.5", "7.0"))

    def test_on_spot_one_that_begins_later_asks_for_a_newer_snapshot_and_stays(self) -> None:
        book = OrderBook(BookRule.SPOT, 1)
        book.take(_spot(102, 110))
        book.take(_spot(111, 120, ("99.5", "7.0")))
        assert book.begin(_snapshot(100)) is BookFault.OLD_SNAPSHOT
        assert book.needs_snapshot and not book.is_ready
        assert book.begin(_snapshot(115)) is None
        assert book.is_ready and book.last_id == 120

    @pytest.mark.parametrize(
        ("first", "last", "previous"), [(100, 100, 90), (95, 100, 90), (100, 110, 90), (105, 110, 100)]
    )
    def test_on_futures_it_holds_the_snapshot_or_names_it(self, first: int, last: int, previous: int) -> None:
        book = OrderBook(BookRule.FUTURES, 1)
        book.take(_futures(first, last, previous))
        assert book.begin(_snapshot(100)) is None
        assert book.is_ready and book.last_id == last

    def test_on_futures_one_that_is_neither_asks_for_a_newer_snapshot(self) -> None:
        book = OrderBook(BookRule.FUTURES, 1)
        book.take(_futures(105, 110, 101))
        assert book.begin(_snapshot(100)) is BookFault.OLD_SNAPSHOT

    @RULES
    def test_without_one_a_book_is_not_ready_for_it_may_be_old(self, rule: BookRule) -> None:
        book = OrderBook(rule, 1)
        assert book.begin(_snapshot(100)) is None
        assert not book.needs_snapshot and not book.is_ready

    @RULES
    def test_one_that_leaves_a_hole_starts_the_book_over(self, rule: BookRule) -> None:
        book = OrderBook(rule, 1)
        book.begin(_snapshot(100))
        assert book.take(_spot(102, 110) if rule is BookRule.SPOT else _futures(102, 110, 101)) is BookFault.MISSING
        assert book.needs_snapshot
        assert book.begin(_snapshot(105)) is None, "the change that did not follow is of use for a newer snapshot"
        assert book.is_ready and book.last_id == 110


class TestLaterChanges:
    @RULES
    def test_a_quantity_of_zero_takes_a_level_out_however_zero_is_written(self, rule: BookRule) -> None:
        book = _ready(rule)
        gone = (("100.0", "0"), ("99.0", "0.00000000"), ("12.5", "0.0"))
        assert book.take(BookChange(106, 106, 106, 105, gone, ())) is None
        assert book.best(1)[0] == (("98.0", "1.0"),)

    @RULES
    def test_a_price_is_the_same_level_however_its_digits_are_written(self, rule: BookRule) -> None:
        book = _ready(rule)
        assert book.take(BookChange(106, 106, 106, 105, (("100.00", "3"),), ())) is None
        assert book.best(2)[0] == (("100.00", "3"), ("99.0", "1.0"))

    @RULES
    def test_a_doubled_or_late_change_changes_nothing(self, rule: BookRule) -> None:
        book = _ready(rule)
        before = book.best(1)
        assert book.take(BookChange(105, 101, 105, 100, (("100.5", "9"),), ())) is None
        assert book.take(BookChange(90, 80, 90, 79, (("100.5", "9"),), ())) is None
        assert book.is_ready and book.best(1) == before and book.last_id == 105

    @RULES
    def test_ids_that_went_back_start_the_book_over(self, rule: BookRule) -> None:
        book = _ready(rule)
        assert book.take(BookChange(106, 5, 9, 4, (), ())) is BookFault.IDS_WENT_BACK
        assert book.begin(_snapshot(7)) is None
        assert book.is_ready and book.last_id == 9

    @RULES
    def test_ids_that_went_back_while_a_snapshot_is_awaited_make_what_was_before_useless(self, rule: BookRule) -> None:
        book = OrderBook(rule, 1)
        book.take(BookChange(1, 9_001, 9_005, 9_000, (), ()))
        book.take(BookChange(2, 5, 9, 4, (), ()))
        assert book.begin(_snapshot(7)) is None
        assert book.is_ready and book.last_id == 9

    @RULES
    def test_a_snapshot_whose_ids_are_never_reached_is_given_up(self, rule: BookRule) -> None:
        book = OrderBook(rule, 1)
        book.begin(_snapshot(1_000_000))
        faults = {book.take(BookChange(number, number, number, number - 1, (), ())) for number in range(1, 1_002)}
        assert faults == {None, BookFault.IDS_WENT_BACK}
        assert book.needs_snapshot

    @RULES
    def test_a_best_bid_at_the_best_ask_starts_the_book_over(self, rule: BookRule) -> None:
        book = _ready(rule)
        assert book.take(BookChange(106, 106, 106, 105, (("101.0", "1"),), ())) is BookFault.CROSSED
        assert not book.is_ready

    def test_on_futures_only_the_previous_id_counts(self) -> None:
        book = _ready(BookRule.FUTURES)
        assert book.take(_futures(900, 910, 105)) is None
        assert book.take(_futures(911, 920, 909)) is BookFault.MISSING

    @RULES
    def test_what_came_behind_a_fault_stays_aside(self, rule: BookRule) -> None:
        book = OrderBook(rule, 1)
        book.take(BookChange(1, 101, 105, 100, (("101.0", "1"),), ()))
        book.take(BookChange(2, 106, 109, 105, (("101.0", "0"),), ()))
        assert book.begin(_snapshot(100)) is BookFault.CROSSED
        assert book.begin(_snapshot(107)) is None
        assert book.is_ready and book.last_id == 109


class TestWhatASnapshotDoesNotReach:
    def test_levels_behind_its_last_one_are_not_known_and_never_shown(self) -> None:
        book = OrderBook(BookRule.SPOT, 2)
        book.begin(_snapshot(100, bids=4, limit=4))  # 100, 99, 98, 97
        assert book.take(_spot(101, 101, ("95.0", "5.0"), ("98.0", "0"))) is None
        assert book.best(9)[0] == (("100.0", "1.0"), ("99.0", "1.0"), ("97.0", "1.0"))

    def test_a_book_that_knows_too_few_levels_starts_over(self) -> None:
        book = OrderBook(BookRule.SPOT, 2)
        book.begin(_snapshot(100, bids=4, limit=4))
        assert book.take(_spot(101, 101, ("100.0", "0"), ("99.0", "0"))) is None
        assert book.take(_spot(102, 102, ("98.0", "0"), ("96.0", "1"))) is BookFault.TOO_FEW_LEVELS

    def test_a_side_that_the_snapshot_had_whole_may_become_empty(self) -> None:
        book = OrderBook(BookRule.SPOT, 2)
        book.begin(_snapshot(100, bids=1))
        assert book.take(_spot(101, 101, ("100.0", "0"))) is None
        assert book.best(2) == ((), (("101.0", "1.0"),))


class TestWhatIsAside:
    @RULES
    def test_only_the_newest_changes_are_kept(self, rule: BookRule) -> None:
        book = OrderBook(rule, 1)
        for number in range(1, MOST_BUFFERED + 3):
            book.take(BookChange(number, number, number, number - 1, (), ()))
        assert book.begin(_snapshot(1)) is BookFault.OLD_SNAPSHOT
        assert book.begin(_snapshot(5)) is None
        assert book.last_id == MOST_BUFFERED + 2

    @RULES
    def test_a_hole_makes_what_was_before_it_useless(self, rule: BookRule) -> None:
        book = OrderBook(rule, 1)
        for change in (BookChange(1, 101, 110, 100, (), ()), BookChange(3, 121, 130, 120, (), ())):
            book.take(change)
        assert book.begin(_snapshot(105)) is BookFault.OLD_SNAPSHOT
        assert book.begin(_snapshot(125)) is None
        assert book.is_ready and book.last_id == 130

    @RULES
    def test_reset_forgets_all(self, rule: BookRule) -> None:
        book = _ready(rule)
        book.reset()
        assert book.needs_snapshot and not book.is_ready
        book.take(BookChange(9_000, 9_000, 9_000, 8_999, (), ()))
        assert book.begin(_snapshot(105)) is BookFault.OLD_SNAPSHOT


def _harmed(changes: list[BookChange], chance: random.Random) -> tuple[list[BookChange], Counter[str]]:
    """Drop, double and swap some of the changes."""
    arriving, done = list(changes), Counter[str]()
    for index in range(len(arriving) - 1, 0, -1):
        match chance.choices(["", "dropped", "doubled", "swapped", "late"], [94, 2, 2, 1, 1])[0]:
            case "":
                continue
            case "dropped":
                del arriving[index]
                done["dropped"] += 1
            case "doubled":
                arriving.insert(index, arriving[index])
                done["doubled"] += 1
            case "swapped":
                arriving[index - 1 : index + 1] = arriving[index - 1 : index + 1][::-1]
                done["swapped"] += 1
            case _:
                arriving.insert(min(index + 5, len(arriving)), arriving[index])
                done["late"] += 1
    return arriving, done


@RULES
def test_of_10000_changes_with_losses_no_book_is_ever_wrong_and_each_loss_starts_it_over(rule: BookRule) -> None:
    world, chance = BookWorld(rule, seed=1), random.Random(1)
    snapshots: list[BookSnapshot] = []
    changes = []
    for _ in range(10_000):
        changes.append(world.change())
        snapshots.append(world.snapshot(LIMIT))
    arriving, done = _harmed(changes, chance)
    place = {change.last_id: index for index, change in enumerate(changes)}
    book, faults, right, asked_at = OrderBook(rule, SHOWN), Counter[str](), 0, None
    for change in arriving:
        was_ready, before = book.is_ready, book.last_id
        fault = book.take(change)
        if was_ready and place[change.last_id] > place[before] + 1:
            assert fault is BookFault.MISSING, "a hole went unnoticed"
        faults[str(fault)] += 1
        at = place[change.last_id]
        if book.needs_snapshot and asked_at is None:
            asked_at = at + chance.randint(-3, 3)  # the answer may be of before or after what came
        elif asked_at is not None and at >= asked_at:
            fault = book.begin(snapshots[max(0, asked_at)])
            faults[str(fault)] += 1
            asked_at = at + chance.randint(0, 3) if fault else None
        if book.is_ready:
            bids, asks = world.states[book.last_id]
            assert book.best(SHOWN) == (bids[:SHOWN], asks[:SHOWN])
            right += 1
    assert right > 5_000, "it was hardly ever ready"
    assert min(done[what] for what in ("dropped", "doubled", "swapped", "late")) > 50
    assert faults[BookFault.MISSING] > 200
    assert faults[BookFault.CROSSED] == faults[BookFault.IDS_WENT_BACK] == 0
    assert faults[BookFault.TOO_FEW_LEVELS] > 0, "the price never left the snapshot: the edge was not tried"
