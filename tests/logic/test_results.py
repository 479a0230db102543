from __future__ import annotations

import pytest

from core.ranges import Span
from core.series import parse_series
from db.operations import SaveResult
from logic.backfill.results import RunSummary, SeriesResult

BTC = parse_series("BTCUSDT")


def summary(*results: SeriesResult, unusable: dict[str, str] | None = None) -> RunSummary:
    return RunSummary("run", list(results), unusable_markets=unusable or {})


@pytest.mark.parametrize(
    ("result", "outcome", "exit_code"),
    [
        (SeriesResult(BTC), "ok", 0),
        (SeriesResult(BTC, error="boom"), "failed", 3),
        (SeriesResult(BTC, open_gaps=[Span(0, 1)]), "incomplete", 3),
        (SeriesResult(BTC, saved=SaveResult(conflicts=1)), "incomplete", 3),
        (SeriesResult(BTC, locked=True), "locked", 4),
        (SeriesResult(BTC, error="a bug", is_fault=True), "failed", 1),
    ],
)
def test_an_outcome_decides_the_exit_code(result: SeriesResult, outcome: str, exit_code: int) -> None:
    assert result.outcome == outcome
    assert summary(SeriesResult(BTC), result).exit_code == exit_code


def test_an_unusable_market_comes_before_a_failure_before_a_lock() -> None:
    failed, locked = SeriesResult(BTC, error="boom"), SeriesResult(BTC, locked=True)
    assert summary(failed, locked).exit_code == 3
    assert summary(SeriesResult(BTC), locked).exit_code == 4
    assert summary(failed, locked, unusable={"um": "banned"}).exit_code == 5
