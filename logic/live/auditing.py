"""When streamed candles are audited, and how many series at once: a long audit must not hold up heals."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence

from core.errors import DatabaseUnavailable, FetcherError, Interrupted
from db.catalog import load_catalog
from db.connection import Database
from logic.live.audit import audit_streamed
from logic.live.counters import LiveCounters
from logic.live.tools import LiveOptions, LiveSeries, LiveTools
from logic.verify.verification import VerifyObserver

_log = logging.getLogger(__name__)

_MOST_AT_ONCE = 50


class Auditor:
    """Audits the streamed candles of all series every so often. For one thread."""

    def __init__(self, tools: LiveTools, options: LiveOptions, counters: LiveCounters) -> None:
        self._series: Mapping[int, LiveSeries] = {}
        self._tools, self._counters = tools, counters
        self._every_ms = options.audit_ms
        self._next_ms = tools.steady_ms() + options.audit_ms
        self._left: list[int] = []  # of the audit that is under way

    def add(self, series: Mapping[int, LiveSeries]) -> None:
        """Audit more series, by id; those that are not streamed any more are audited once more too. From any thread."""
        self._series = {**self._series, **series}

    def audit_due(self, database: Database) -> None:
        """Audit some series when it is time. Raises DatabaseUnavailable and Interrupted."""
        if self._every_ms and self._tools.steady_ms() >= self._next_ms:
            self._next_ms = self._tools.steady_ms() + self._every_ms
            self._left = [*self._series]
        group, self._left = self._left[:_MOST_AT_ONCE], self._left[_MOST_AT_ONCE:]
        if group:
            self.audit(database, group)

    def audit_all(self, database: Database) -> None:
        """Audit all series now. Raises DatabaseUnavailable and Interrupted."""
        ids = [*self._series]
        for first in range(0, len(ids), _MOST_AT_ONCE):
            self.audit(database, ids[first : first + _MOST_AT_ONCE])

    def audit(self, database: Database, ids: Sequence[int]) -> None:
        """Audit the series `ids`. Raises DatabaseUnavailable and Interrupted."""
        wanted = set(ids)
        with database.transaction("read the catalog") as tx:
            rows = [row for row in load_catalog(tx) if row.id in wanted]
        # A run of its own, so that `verify --undo` can take back what one audit corrected.
        run_id = uuid.uuid4().hex[:8]
        try:
            with self._tools.open_exchange() as exchange:
                for market in {row.series.market for row in rows}:  # together: by its name each costs a request
                    exchange.open_market(market, {row.series.symbol for row in rows if row.series.market is market})
                self._tools.clocks.take(exchange)
                summary = audit_streamed(database, exchange, rows, run_id, self._tools.local_now_ms, VerifyObserver())
        except (DatabaseUnavailable, Interrupted):
            raise
        except FetcherError as error:
            _log.error("streamed candles of %d series cannot be audited now: %s", len(rows), error)
            return
        self._counters.audits += 1
        self._counters.audited += sum(one.rows for one in summary.results)
        self._counters.corrected += sum(one.repaired for one in summary.results)
