"""A host that fails again and again is left alone, ever longer, and one request tries whether it is back."""

from __future__ import annotations

from core.circuit_breaker import FIRST_OPEN_MS, LONGEST_OPEN_MS, Circuit

NOW_MS = 1_700_000_000_000


def opened(now_ms: int = NOW_MS) -> Circuit:
    circuit = Circuit()
    for second in range(5):
        circuit = circuit.failed(now_ms + second * 1000)
    return circuit


def test_five_failures_in_a_row_within_a_minute_open_it() -> None:
    circuit = Circuit()
    for second in (0, 20, 40, 59):
        circuit = circuit.failed(NOW_MS + second * 1000)
        assert circuit.asked(NOW_MS) == circuit
    assert circuit.failed(NOW_MS + 60_000).asked(NOW_MS + 60_000) is None
    assert circuit.failed(NOW_MS + 61_000).asked(NOW_MS + 61_000) is not None  # the first is too old
    assert circuit.failed(NOW_MS + 61_000).failed(NOW_MS + 62_000).asked(NOW_MS + 62_000) is None


def test_one_trial_at_a_time_and_a_failure_doubles_the_wait_up_to_ten_minutes() -> None:
    circuit, now_ms = opened(), NOW_MS + 4_000
    waits = []
    for _ in range(7):
        assert circuit.asked(circuit.until_ms - 1) is None
        waits.append(circuit.until_ms - now_ms)
        now_ms = circuit.until_ms
        trial = circuit.asked(now_ms)
        assert trial is not None and trial.asked(now_ms + 1) is None
        circuit = trial.failed(now_ms)
    assert waits == [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]
    assert waits[0] == FIRST_OPEN_MS and waits[-1] == LONGEST_OPEN_MS


def test_requests_that_were_under_way_do_not_prolong_it_and_a_trial_that_never_ends_is_given_up() -> None:
    circuit = opened()
    assert circuit.failed(NOW_MS + 5_000) == circuit
    trial = circuit.asked(circuit.until_ms)
    assert trial is not None
    assert trial.asked(circuit.until_ms + 119_000) is None
    assert trial.asked(circuit.until_ms + 121_000) is not None
    assert trial.next_ms(circuit.until_ms) == circuit.until_ms + 120_000


def test_a_clock_that_was_set_back_does_not_keep_it_open() -> None:
    assert opened().asked(NOW_MS - 3_600_000) is not None


def test_a_host_that_is_down_for_an_hour_gets_at_most_twenty_requests_however_often_it_is_wanted() -> None:
    circuit, sent, now_ms = Circuit(), 0, NOW_MS
    while now_ms < NOW_MS + 3_600_000:
        asked = circuit.asked(now_ms)
        if asked is not None:
            sent += 1
            circuit = asked.failed(now_ms + 100)
        now_ms += 1_000
    assert sent <= 20
