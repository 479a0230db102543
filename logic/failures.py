"""Decides which errors end only one series and which end the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from core.errors import ExchangeUnavailable, FetcherError, SeriesError
from core.series import Series

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeriesEnd:
    """Why a series ended early."""

    error: str
    is_fault: bool = False  # a fault of this program
    is_market: bool = False  # its whole market cannot be used


@contextmanager
def failing_alone(series: Series, end: Callable[[SeriesEnd], None]) -> Iterator[None]:
    """Call `end` for an error that ends only this series; raise an error that ends the run.

    An unexpected error (a fault of this program) ends only the series, so that an unattended run goes on. Errors of the
    database or the configuration and an interruption by the operator end the run.
    """
    try:
        yield
    except SeriesError as error:
        _log.error("%s failed: %s", series, error)
        end(SeriesEnd(str(error)))
    except ExchangeUnavailable as error:  # logged by the exchange, once for all its series
        end(SeriesEnd(str(error), is_market=True))
    except FetcherError:
        raise
    except Exception as error:
        _log.exception("%s: unexpected fault, please report it", series)
        end(SeriesEnd(f"unexpected fault: {type(error).__name__}: {error}", is_fault=True))
