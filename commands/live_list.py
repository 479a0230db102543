"""The list of what is streamed, read again while it is streamed: symbols.yml, or public.symbols."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from commands.connections import writing
from commands.context import CommandContext
from commands.exchange_access import asking, backfill_options
from commands.wanted import WantedRequest, resolve_wanted
from core.errors import ConfigurationError, DatabaseUnavailable, FetcherError, Interrupted
from core.series import Series, brief_list
from core.stream_kinds import StreamKind
from core.streams import StreamKey
from core.wanted import WantedSeries
from core.wanted_streams import split_by_kind, with_levels
from logic.backfill.ohlcv_handler import run_ohlcv_backfill
from logic.backfill.run import Observer
from logic.exchange_opening import ExchangeSource
from logic.live.preparing import History, LivePlan, plan_live, plan_records
from logic.live.service import LiveService
from logic.live.tools import LiveSeries, RecordOptions
from logic.opening import Database, prepare_market_tables

_log = logging.getLogger(__name__)

_STEP_S = 0.5
_LOOK_EVERY_S = 60.0
_ANYWAY_EVERY_S = 3_600.0  # a pattern may fit a symbol that was listed meanwhile


@dataclass(frozen=True, slots=True)
class Listed:
    """A list, and what of it can be streamed."""

    wanted: Sequence[WantedSeries]
    plan: LivePlan
    records: RecordOptions


@dataclass(frozen=True, slots=True)
class LiveList:
    """How a list becomes streams."""

    context: CommandContext
    kinds: tuple[StreamKind, ...] | None
    history: History
    depth: int | None = None  # levels of order books; None: what the settings say

    def read(self, wanted: WantedRequest, database: Database, exchange: ExchangeSource) -> Sequence[WantedSeries]:
        """Return the series of the list. Raises ConfigurationError when there are none, ExchangeUnavailable."""
        return resolve_wanted(wanted, self.context.settings, database, exchange).series

    def plan(
        self, series: Sequence[WantedSeries], is_whole_list: bool, database: Database, exchange: ExchangeSource
    ) -> Listed:
        """Return what of the list can be streamed.

        Raises ConfigurationError when nothing can, ExchangeUnavailable and DatabaseUnavailable.
        """
        streams = self.context.settings.streams
        candles, others = split_by_kind(series, self.kinds, streams.kinds)
        plan = plan_live(database, exchange, candles, is_whole_list and len(candles) == len(series), self.history)
        others = with_levels(others, streams.depth if self.depth is None else self.depth)
        keys, left_out = plan_records(exchange, others)
        records = RecordOptions(
            keys, streams.ticker_ms, streams.mark_price_ms, streams.depth_ms, left_out, may_come=True
        )
        if not plan.series and not records.keys:
            raise ConfigurationError(f"nothing to stream: {left_out_text(plan.left_out, records.left_out)}")
        return Listed(series, plan, records)


class LiveListFollower:
    """Looks at the list every minute, and when `look_now` was called, in a thread of its own."""

    def __init__(
        self, how: LiveList, read_again: Callable[[], WantedRequest], first: Listed, service: LiveService
    ) -> None:
        self._how, self._read_again, self._service = how, read_again, service
        self.listed = first
        self._streamed = {one.wanted.series: one for one in first.plan.series}
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="list", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def look_now(self) -> None:
        """Read the list again soon."""
        self._asked.set()

    def _run(self) -> None:
        seen, looked_s = self._stamp(), time.monotonic()
        read_s = looked_s
        while not self._how.context.interruption.is_stopped:
            is_asked = self._asked.wait(_STEP_S)
            now_s = time.monotonic()
            if not is_asked and now_s < looked_s + _LOOK_EVERY_S:
                continue
            self._asked.clear()
            looked_s, stamp = now_s, self._stamp()
            if is_asked or stamp is None or stamp != seen or now_s >= read_s + _ANYWAY_EVERY_S:
                try:
                    seen, read_s = (stamp, now_s) if self._look() else (None, read_s)
                except Interrupted:
                    return

    def _stamp(self) -> int | None:
        """Return when symbols.yml was changed; None where the list is in the database, or cannot be looked at."""
        try:
            return self._how.context.settings.symbols_file.stat().st_mtime_ns
        except OSError:
            return None

    def _look(self) -> bool:
        """Read the list and stream what it says; return whether it need not be read again until it changes."""
        context = self._how.context
        try:
            wanted = self._read_again()
            with writing(context) as database, asking(context, is_lasting=True) as exchange:
                series = self._how.read(wanted, database, exchange)
                if list(series) != list(self.listed.wanted):
                    self._take(self._how.plan(series, wanted.is_whole_list, database, exchange), database, exchange)
        except Interrupted:
            raise
        except FetcherError as error:
            _log.error("the list cannot be followed now, what is streamed stays as it was: %s", error)
            return isinstance(error, ConfigurationError)
        return True

    def _take(self, listed: Listed, database: Database, exchange: ExchangeSource) -> None:
        before = self.listed
        series, keys = self._kept(listed, before)
        streamed = {one.wanted.series: one for one in series}
        left_out = {one: why for one, why in listed.plan.left_out.items() if one not in streamed}
        self.listed = replace(listed, plan=replace(listed.plan, left_out=left_out))
        gone = self._streamed.keys() - streamed.keys()
        known = {one.series: one for one in before.plan.wanted}
        new = [one for one in listed.plan.wanted if known.get(one.series) != one]
        _log.info(
            "the list has changed: %d series and %d other streams now; new or with another range: %s; gone: %s",
            len(series),
            len(keys),
            brief_list([one.series for one in new]) or "none",
            brief_list(sorted(gone, key=str)) or "none",
        )
        options = backfill_options(self._how.context, database, heal_gaps=False)
        if keys:
            prepare_market_tables(database, options.timescale, options.compress_after_days)
        self._streamed = streamed
        self._service.want(series, keys)
        try:
            run_ohlcv_backfill(database, exchange, new, options, Observer(), self._how.context.now_ms)
        except DatabaseUnavailable as error:
            _log.error("the backfill of new series ended early, they are healed: %s", error)
            self._service.heal([one.series for one in new])

    def _kept(self, listed: Listed, before: Listed) -> tuple[list[LiveSeries], list[StreamKey]]:
        """Return what to stream: also what is wanted still and only cannot be looked up at the exchange now."""
        series = [*listed.plan.series]
        series += [self._streamed[one] for one in listed.plan.left_out if one in self._streamed]
        keys = [*listed.records.keys, *(key for key in listed.records.left_out if key in before.records.keys)]
        return series, keys


@contextmanager
def following(follower: LiveListFollower | None) -> Iterator[None]:
    """Follow the list during the context, at SIGHUP at once, where the system has that signal."""
    if follower is None:
        yield
        return
    follower.start()
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(hangup, lambda _number, _frame: follower.look_now())
    try:
        yield
    finally:
        signal.signal(hangup, before)


def left_out_text(series: Mapping[Series, str], others: Mapping[StreamKey, str]) -> str:
    """Return what is not streamed, with why."""
    by_reason: dict[str, list[object]] = {}
    for one, why in [*series.items(), *others.items()]:
        by_reason.setdefault(why, []).append(one)
    return "; ".join(f"{brief_list(some)}: {why}" for why, some in by_reason.items())
