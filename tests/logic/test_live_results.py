"""How a live run ends: what decides is what is still undone at its end, not what was at its beginning."""

from __future__ import annotations

import pytest

from core.exit_codes import EXIT_EXCHANGE, EXIT_FAULT, EXIT_INCOMPLETE, EXIT_OK
from core.series import parse_series
from logic.backfill.results import RunSummary, SeriesResult
from logic.live.counters import LiveCounters
from logic.live.results import LiveSummary

SERIES, OTHER = parse_series("BTCUSDT"), parse_series("um:BTCUSDT")


def summary(*results: SeriesResult, unusable: dict[str, str] | None = None, **facts: object) -> LiveSummary:
    known: dict[str, object] = {
        "counters": LiveCounters(),
        "left_out": {},
        "silent": {},
        "unusable_markets": {},
        "unsaved": 0,
        "unhealed": 0,
        "backfill": RunSummary("b", list(results), unusable or {}),
    }
    return LiveSummary("r", 1.0, streamed=2, live=2, **(known | facts))  # type: ignore[arg-type]


@pytest.mark.parametrize("result", [SeriesResult(SERIES, locked=True), SeriesResult(SERIES, error="HTTP 503")])
def test_what_the_first_backfill_could_not_do_and_a_heal_did_is_well(result: SeriesResult) -> None:
    assert summary(result).exit_code == EXIT_OK
    assert summary(result, unhealed=1).exit_code == EXIT_INCOMPLETE
    assert summary(result, unusable={"spot": "banned"}).exit_code == EXIT_OK


def test_what_is_not_streamed_ends_as_its_backfill_did() -> None:
    left_out = {SERIES: "the exchange lists no such symbol"}
    assert summary(SeriesResult(SERIES, error="unknown"), left_out=left_out).exit_code == EXIT_INCOMPLETE
    assert summary(SeriesResult(SERIES), left_out=left_out).exit_code == EXIT_OK
    failed = SeriesResult(OTHER, error="not served")
    found = summary(failed, unusable={"um": "not served here"}, left_out={OTHER: "not served here"})
    assert found.exit_code == EXIT_EXCHANGE


def test_a_backfill_that_was_interrupted_is_said_and_no_success() -> None:
    found = summary(backfill=None, is_backfill_interrupted=True)
    assert found.exit_code == EXIT_INCOMPLETE
    assert found.needs == ["the backfill was not finished; the next run goes on with it"]


def test_a_fault_of_the_program_outranks_everything() -> None:
    counters = LiveCounters(faults=1)
    assert summary(counters=counters, unusable_markets={"um": "silent"}).exit_code == EXIT_FAULT
    assert summary(unusable_markets={"um": "silent"}, unsaved=3).exit_code == EXIT_EXCHANGE
