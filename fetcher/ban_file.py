"""Keeps bans and pauses in a file, for later and parallel runs: a request during a ban makes the ban longer."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import ExchangeBanned
from core.times import MS_PER_DAY, MS_PER_HOUR, format_ms

_log = logging.getLogger(__name__)

LONGEST_BACK_OFF_S = 600
"""A longer wait than this, where an exchange asks for one, is not a back-off but a ban."""
LONGEST_BAN_MS = 3 * MS_PER_DAY + MS_PER_HOUR
"""No ban is longer (docs/binance.md, Weight and bans; three days, and a margin): a longer one is a fault on the way."""


@dataclass(frozen=True, slots=True)
class _Stop:
    """A ban or a pause of `for_ms`. Its end is kept by two clocks, because this machine's may be years off."""

    until_ms: int  # by this machine's clock when it was recorded
    for_ms: int
    exchange_until_ms: int | None = None  # by the exchange's, as far as its answer had a date

    def left_ms(self, now_ms: int) -> int:
        """Return how long it still lasts by this machine's clock of today; 0 when it is over.

        More than its whole length cannot be left: by that clock nothing can be said, and the other one decides.
        """
        left = [until_ms - now_ms for until_ms in (self.until_ms, self.exchange_until_ms) if until_ms is not None]
        if possible := [ms for ms in left if 0 < ms <= self.for_ms]:
            return max(possible)
        return self.for_ms if self.is_ahead(now_ms) else 0

    def is_ahead(self, now_ms: int) -> bool:
        """Whether it begins later than now by all its clocks: this machine's clock was set back since."""
        ends = [until_ms for until_ms in (self.until_ms, self.exchange_until_ms) if until_ms is not None]
        return all(until_ms - now_ms > self.for_ms for until_ms in ends)


class BanFile:
    """How long each address pool (`spot`, `futures`) is banned or paused. Thread-safe.

    The file is read before every request, because another run on this machine may have been banned meanwhile.
    """

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        self._path = path
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._recorded: dict[str, _Stop] = {}  # by this run itself; used when the file cannot be written
        self._has_warned = False

    def refuse_while_banned(self, pool: str) -> None:
        """Raise ExchangeBanned while `pool` is banned."""
        left_ms = self._left_ms(pool)
        if left_ms > 0:
            until_ms = self._now_ms() + left_ms
            raise ExchangeBanned(
                f"the exchange has banned this address from {pool} until {format_ms(until_ms // 1000 * 1000)}; "
                f"no request was sent. Run again after that (recorded in {self._path})",
                until_ms,
            )

    def record(self, pool: str, for_ms: int, exchange_now_ms: int | None = None) -> int:
        """Record that `pool` is banned for `for_ms` from now, at most for three days; return until when (epoch ms).

        `exchange_now_ms` (epoch ms) is the date of the exchange's answer, if it had one.
        """
        return self._note(pool, min(for_ms, LONGEST_BAN_MS), exchange_now_ms)

    def record_pause(self, pool: str, for_ms: int) -> None:
        """Record that `pool` must get no request for `for_ms` from now (Retry-After), at most for ten minutes."""
        self._note(_pause_of(pool), min(for_ms, LONGEST_BACK_OFF_S * 1000), None)

    def pause_left_ms(self, pool: str) -> int:
        """Return the rest of the pause of `pool` in ms; 0 when it is not paused."""
        return self._left_ms(_pause_of(pool))

    def _left_ms(self, key: str) -> int:
        with self._lock:
            stop, now_ms = self._stops().get(key), self._now_ms()
            if stop is None:
                return 0
            if stop.is_ahead(now_ms):
                # Its length counts from now on, or it would last until this clock is where it was.
                self._write(key, replace(stop, until_ms=now_ms + stop.for_ms))
            return stop.left_ms(now_ms)

    def _note(self, key: str, for_ms: int, exchange_now_ms: int | None) -> int:
        with self._lock:
            now_ms = self._now_ms()
            known = self._stops().get(key)
            if known is None or known.left_ms(now_ms) < for_ms:
                until_ms = None if exchange_now_ms is None else exchange_now_ms + for_ms
                self._write(key, _Stop(now_ms + for_ms, for_ms, until_ms))
                return now_ms + for_ms
            self._write(key, known)
            return now_ms + known.left_ms(now_ms)

    def _write(self, key: str, stop: _Stop) -> None:
        self._recorded[key] = stop
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        content = {name: asdict(one) for name, one in self._stops().items()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(content), encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            _log.warning("the exchange's ban or pause cannot be recorded in %s: %s", self._path, error)
            with suppress(OSError):
                beside.unlink(missing_ok=True)

    def _stops(self) -> dict[str, _Stop]:
        """Return what the file has; of what this run has recorded itself, the one that lasts longer."""
        now_ms = self._now_ms()
        stops = self._load()
        for key, ours in self._recorded.items():
            if key not in stops or stops[key].left_ms(now_ms) <= ours.left_ms(now_ms):
                stops[key] = ours
        return stops

    def _load(self) -> dict[str, _Stop]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(key): _read(one) for key, one in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError, KeyError) as error:
            if not self._has_warned:
                self._has_warned = True
                _log.warning("%s is unreadable and is ignored: %s", self._path, error)
            return {}


def _read(found: dict[str, Any]) -> _Stop:
    until_ms = found["exchange_until_ms"]
    for_ms = min(int(found["for_ms"]), LONGEST_BAN_MS)
    return _Stop(int(found["until_ms"]), for_ms, None if until_ms is None else int(until_ms))


def _pause_of(pool: str) -> str:
    return f"{pool} pause"
