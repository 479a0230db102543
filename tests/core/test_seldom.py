from __future__ import annotations

from core.seldom import Seldom


def test_a_trouble_of_a_day_is_said_a_few_times_an_hour_at_first_then_hourly() -> None:
    seldom = Seldom()
    said = [at_s for at_s in range(86_400) if seldom.is_due(at_s)]
    assert said[:4] == [0, 60, 180, 420]
    assert 20 < len(said) < 32
    assert said[-1] - said[-2] == 3_600


def test_its_end_is_told_once_and_the_next_one_is_said_at_once() -> None:
    seldom = Seldom()
    assert not seldom.ends()
    assert seldom.is_due(5) and not seldom.is_due(6)
    assert seldom.ends() and not seldom.ends()
    assert seldom.is_due(7) and not seldom.is_due(8)
