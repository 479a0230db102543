"""Stores what streams of other kinds than candles deliver, and notes the gaps in the ids of trades."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from core.errors import DatabaseUnavailable, SeriesError, StatementRefused
from core.id_sequence import IdGap, Mark, find_gaps
from core.market_data import SEQUENCED, Record
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from db.connection import Database
from db.market_data import StoredRecords, newest_trades, store_records, sync_instruments
from db.market_tables import ID_COLUMNS, TABLES
from db.stream_gaps import insert_gaps
from logic.live.counters import LiveCounters
from logic.live.tools import LiveTools
from logic.live.waiting_records import WaitingRecords

_log = logging.getLogger(__name__)

_MOST_OF_A_ROUND = 5_000
_ENOUGH = 1_000  # trades that are worth a round; fewer wait a little, so that a commit is not made for each
_LONGEST_WAIT_S = 0.25
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_SOURCE = "stream"

Keyed = tuple[StreamKey, Record]


class RecordWriter:
    """The writer's work, for a thread of its own."""

    def __init__(
        self, keys: Sequence[StreamKey], waiting: WaitingRecords, tools: LiveTools, counters: LiveCounters
    ) -> None:
        self._keys = keys
        self._is_changed = False
        self._waiting, self._tools, self._counters = waiting, tools, counters
        self._ids: dict[StreamKey, int] = {}  # of instruments
        self._newest: dict[StreamKey, Mark] = {}  # the newest stored trade
        self._in_hand: list[Keyed] = []  # taken and not stored yet

    def want(self, keys: Sequence[StreamKey]) -> None:
        """Store records of these streams too, from now on. From any thread."""
        self._keys = list(dict.fromkeys([*self._keys, *keys]))
        self._is_changed = True

    @property
    def unsaved(self) -> int:
        """How many records wait."""
        return len(self._waiting) + len(self._in_hand)

    def run(self) -> None:
        """Store what comes until the queue is closed and empty, also across losses of the database."""
        pause_s = _FIRST_PAUSE_S
        while not self._is_done():
            try:
                with self._tools.open_database() as database:
                    self._begin(database)
                    while not self._is_done():
                        self._round(database)
                        pause_s = _FIRST_PAUSE_S
            except (DatabaseUnavailable, SeriesError) as error:
                _log.error("%d trades and prices wait for the database: %s", self.unsaved, error)
                if self._waiting.is_closed:
                    return  # the gaps are found at the next start
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _is_done(self) -> bool:
        return self._waiting.is_closed and self.unsaved == 0

    def _begin(self, database: Database) -> None:
        """Read where each instrument's trades end: what is not stored behind that will be a gap."""
        known = self._keys
        with database.transaction("look for the newest trades") as tx:
            instruments = sync_instruments(tx, [key.instrument for key in known])
            self._ids = {key: instruments[key.instrument] for key in known}
            self._newest = {}
            for kind in ID_COLUMNS:
                keys = {self._ids[key]: key for key in known if key.kind is kind}
                found = newest_trades(tx, kind, list(keys))
                self._newest |= {keys[number]: mark for number, mark in found.items()}

    def _round(self, database: Database) -> None:
        if not self._in_hand:
            self._waiting.wait(_ENOUGH, _LONGEST_WAIT_S)
            self._in_hand = self._waiting.take(_MOST_OF_A_ROUND)
        if self._is_changed:
            self._is_changed = False
            self._begin(database)
        by_kind: dict[StreamKind, list[Keyed]] = {}
        for one in self._in_hand:
            by_kind.setdefault(one[0].kind, []).append(one)
        for kind, records in by_kind.items():
            try:
                self._store(database, kind, records)
            except StatementRefused:
                raise  # somebody's lock, or a right that lacks: the same is tried again
            except SeriesError as error:
                # Of trades the ids jump now, which is a gap when the table can be used again.
                self._counters.records_lost += len(records)
                _log.error("%d records of %s were not stored: %s", len(records), kind, error)
            self._in_hand = [one for one in self._in_hand if one[0].kind is not kind]

    def _store(self, database: Database, kind: StreamKind, records: Sequence[Keyed]) -> None:
        line = TABLES[kind].line
        lines = [line(self._ids[key], record, _SOURCE) for key, record in records]
        gaps, newest = self._find_gaps(records)
        with database.transaction(f"store records of {kind}") as tx:
            stored = store_records(tx, kind, lines)
            for key, found in gaps.items():
                insert_gaps(tx, self._ids[key], kind, found, self._tools.local_now_ms())
        self._newest |= newest
        self._count(kind, stored, gaps)

    def _find_gaps(self, records: Sequence[Keyed]) -> tuple[dict[StreamKey, list[IdGap]], dict[StreamKey, Mark]]:
        marks: dict[StreamKey, list[Mark]] = {}
        for key, record in records:
            if isinstance(record, SEQUENCED):
                marks.setdefault(key, []).append(Mark(record.id, record.time_ms))
        gaps: dict[StreamKey, list[IdGap]] = {}
        newest: dict[StreamKey, Mark] = {}
        for key, came in marks.items():
            found, last = find_gaps(self._newest.get(key), came)
            if found:
                gaps[key] = found
            if last is not None:
                newest[key] = last
        return gaps, newest

    def _count(self, kind: StreamKind, stored: StoredRecords, gaps: Mapping[StreamKey, Sequence[IdGap]]) -> None:
        self._counters.records_stored[kind.value] += stored.inserted
        self._counters.records_already_there += stored.equal
        self._counters.record_conflicts += stored.conflicts
        if stored.conflicts:
            _log.warning(
                "%d records of %s differ from stored ones of the same key, which stayed", stored.conflicts, kind
            )
        for key, found in gaps.items():
            self._counters.id_gaps += len(found)
            _log.info("%s: %d trades did not come; they are asked for by REST", key, sum(gap.size for gap in found))
