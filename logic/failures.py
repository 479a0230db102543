"""What ends a series, and what ends the run. The one place that decides it."""

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
    """Why a series ended before it was done."""

    error: str
    is_fault: bool = False  # a fault of this program
    is_market: bool = False  # its whole market cannot be used


@contextmanager
def failing_alone(series: Series, end: Callable[[SeriesEnd], None]) -> Iterator[None]:
    """Call `end` where an error ends this series alone; let pass what ends the run.

    A fault of this program counts as the series' own: an unattended run must not be held up by it. The database, the
    configuration and the operator end the run.
    """
    try:
        yield
    except SeriesError as error:
        _log.error("%s failed: %s", series, error)
        end(SeriesEnd(str(error)))
    except ExchangeUnavailable as error:  # said in the log by the exchange, once for all its series
        end(SeriesEnd(str(error), is_market=True))
    except FetcherError:
        raise
    except Exception as error:
        _log.exception("%s: unexpected fault, please report it", series)
        end(SeriesEnd(f"unexpected fault: {type(error).__name__}: {error}", is_fault=True))
