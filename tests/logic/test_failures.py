"""What ends a series alone, what its market, and what the whole run."""

from __future__ import annotations

import logging

import pytest

from core.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    ExchangeBanned,
    ExchangeUnavailable,
    FetcherError,
    Interrupted,
    SeriesError,
    UnusableAnswer,
)
from core.series import parse_series
from logic.failures import SeriesEnd, failing_alone

BTC = parse_series("um:BTCUSDT/1h")


def ends_of(error: BaseException | None) -> list[SeriesEnd]:
    """Return how the series ended in which `error` was raised; what passes through is raised."""
    ends: list[SeriesEnd] = []
    with failing_alone(BTC, ends.append):
        if error is not None:
            raise error
    return ends


@pytest.mark.parametrize("kind", [SeriesError, UnusableAnswer])
def test_an_error_of_the_series_ends_it_and_is_said(kind: type[FetcherError], caplog: pytest.LogCaptureFixture) -> None:
    assert ends_of(kind("no such symbol")) == [SeriesEnd("no such symbol")]
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "um:BTCUSDT/1h failed: no such symbol")


@pytest.mark.parametrize("error", [ExchangeUnavailable("blocked"), ExchangeBanned("blocked", until_ms=5)])
def test_an_exchange_that_cannot_be_used_ends_the_market_and_is_said_by_the_exchange_alone(
    error: ExchangeUnavailable, caplog: pytest.LogCaptureFixture
) -> None:
    assert ends_of(error) == [SeriesEnd("blocked", is_market=True)]
    assert caplog.records == []


@pytest.mark.parametrize("error", [ValueError("off by one"), KeyError("gone"), RecursionError("deep"), OSError("disk")])
def test_a_fault_of_the_program_ends_the_series_and_is_told_with_its_traceback(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert ends_of(error) == [SeriesEnd(f"unexpected fault: {type(error).__name__}: {error}", is_fault=True)]
    [record] = caplog.records
    assert record.getMessage() == "um:BTCUSDT/1h: unexpected fault, please report it"
    assert record.exc_info is not None and record.exc_info[1] is error


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable("gone"),
        ConfigurationError("wrong"),
        Interrupted("stop", exit_code=130),
        KeyboardInterrupt(),
        SystemExit(2),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_database_the_configuration_and_the_operator_end_the_run(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    ends: list[SeriesEnd] = []
    with pytest.raises(type(error)) as raised, failing_alone(BTC, ends.append):
        raise error
    assert raised.value is error
    assert (ends, caplog.records) == ([], [])


def test_a_series_without_an_error_does_not_end() -> None:
    assert ends_of(None) == []
