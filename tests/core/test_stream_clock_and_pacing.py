"""The time of live streams, and how often something may be done."""

from core.stream_clock import StreamClock
from core.stream_pacing import Backoff, ConnectBudget

S_NS, DATE_MS = 10**9, 1_700_000_000_000


def test_time_passes_by_the_steady_clock_whatever_the_date_does() -> None:
    clock = StreamClock(DATE_MS, 5 * S_NS, 1.0)
    assert clock.read(DATE_MS + 1000, 6 * S_NS) == DATE_MS + 1000
    assert clock.read(DATE_MS - 3_600_000, 7 * S_NS) == DATE_MS + 2000  # set back by an hour
    assert clock.read(DATE_MS - 3_600_000 + 9_000, 8 * S_NS) == DATE_MS + 3000  # corrected a little
    assert clock.at(9 * S_NS) == DATE_MS + 4000


def test_a_machine_that_slept_has_lived_through_the_time() -> None:
    clock = StreamClock(DATE_MS, 0, 1.0)
    clock.read(DATE_MS + 1000, S_NS)
    assert clock.read(DATE_MS + 1000 + 3 * 3_600_000, S_NS) == DATE_MS + 1000 + 3 * 3_600_000
    assert clock.at(2 * S_NS) == DATE_MS + 2000 + 3 * 3_600_000


def test_time_can_run_faster() -> None:
    clock = StreamClock(DATE_MS, 0, 60.0)
    assert clock.read(DATE_MS + 60_000, S_NS) == clock.at(S_NS) == DATE_MS + 60_000


def test_waits_grow_to_a_minute_and_begin_again() -> None:
    backoff = Backoff(lambda: 0.999999)
    waits = [round(backoff.next_ms() / 1000) for _ in range(10)]
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    backoff.reset()
    assert backoff.next_ms() == 0


def test_waits_are_random_from_nothing_on() -> None:
    backoff = Backoff(lambda: 0.0)
    assert [backoff.next_ms() for _ in range(5)] == [0] * 5


def test_a_host_is_connected_to_sixty_times_in_five_minutes_and_not_while_it_forbids() -> None:
    budget = ConnectBudget()
    for second in range(60):
        assert budget.free_ms <= second * 1000
        budget.count(second * 1000)
    assert budget.free_ms == 300_000
    budget.hold(400_000)
    budget.hold(350_000)
    assert budget.free_ms == 400_000
