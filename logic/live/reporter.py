"""Writes what a live service is doing into the database every ten seconds, for `monitor` and `status`."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping

from core.errors import FetcherError, Interrupted
from core.instrument import Market
from core.stream_activity import StreamState
from db.connection import Database
from db.live_status import HEARTBEAT_MS, StreamRow, beat, begin_session, write_streams
from db.notifications import heard, listen, notify
from logic.live.control import CONTROL, RECONNECT, reply_channel
from logic.live.statistics import Statistics, StreamFigures, statistics_document
from logic.live.tools import LiveTools

_STEP_S = 0.5
_log = logging.getLogger(__name__)


class Reporter:
    """The reporter's work, for a thread and a connection of its own: nothing of the service waits for it."""

    def __init__(
        self,
        session_id: str,
        settings: Mapping[str, object],
        statistics: Statistics,
        tools: LiveTools,
        reconnect: Callable[[Market | None], None],
    ) -> None:
        self._id, self._settings, self._replace = session_id, settings, reconnect
        self._statistics, self._tools = statistics, tools
        self._stopping = threading.Event()
        self._is_away = False

    def stop(self) -> None:
        """Have the end written; `run` returns soon."""
        self._stopping.set()

    def run(self) -> None:
        """Report until stopped, also across losses of the database."""
        while True:
            try:
                with self._tools.open_database() as database:
                    self._report_with(database)
                return
            except Interrupted:
                raise
            except FetcherError as error:  # of whatever kind: what is stored does not depend on it
                if not self._is_away:
                    _log.warning("monitor and status do not see this stream now: %s", error)
                self._is_away = True
            if self._stopping.wait(self._tools.seconds(HEARTBEAT_MS)):
                return
            self._statistics.look()

    def _report_with(self, database: Database) -> None:
        listen(database, CONTROL)
        is_last = False
        while not is_last:
            self._report(database, is_last)
            is_last = self._listen(database)
        self._report(database, is_last)

    def _listen(self, database: Database) -> bool:
        """Do what others ask for until the next report is due; return whether it is the last."""
        ends_s = time.monotonic() + self._tools.seconds(HEARTBEAT_MS)
        while not self._stopping.is_set() and (left_s := ends_s - time.monotonic()) > 0:
            for message in heard(database, min(left_s, _STEP_S)):
                if message.get("do") == RECONNECT:
                    self._reconnect(database, message)
        return self._stopping.is_set()

    def _reconnect(self, database: Database, message: Mapping[str, object]) -> None:
        name = message.get("market")
        market = next((one for one in Market if one.value == name), None)
        if market is None and name is not None:
            return  # a market that this program does not know
        _log.info("asked for new connections%s", f" of market {market}" if market is not None else "")
        self._replace(market)
        notify(
            database, reply_channel(message), {"host": socket.gethostname(), "pid": os.getpid(), "session": self._id}
        )

    def _report(self, database: Database, is_last: bool) -> None:
        figures = self._statistics.look()
        document = statistics_document(figures)
        with database.transaction("report what is streamed") as tx:
            if not beat(tx, self._id, document, is_last):
                settings = {"streams": len(figures.streams), **self._settings}
                begin_session(tx, self._id, socket.gethostname(), os.getpid(), settings)
                beat(tx, self._id, document, is_last)
            write_streams(tx, self._id, [_row(one, is_last) for one in figures.streams])
        self._is_away = False


def _row(one: StreamFigures, is_last: bool) -> StreamRow:
    return StreamRow(
        one.key,
        StreamState.STOPPED if is_last else one.state,
        one.last_event_ms,
        one.record.closed_ms,
        one.record.price,
        one.messages,
        one.per_second,
        one.latency_p95_ms,
        one.record.cuts,
        one.heals,
        one.record.errors,
        one.record.silent_since_ms,
    )
