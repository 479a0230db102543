"""Keeps bans and pauses in a file, for later and parallel runs: a request during a ban makes the ban longer."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.errors import ExchangeBanned
from core.times import format_ms

_log = logging.getLogger(__name__)

LONGEST_BACK_OFF_S = 600
"""A longer wait than this, where an exchange asks for one, is not a back-off but a ban."""


class BanFile:
    """Until when each address pool (`spot`, `futures`) is banned or paused, by this machine's clock. Thread-safe.

    The file is read before every request, because another run on this machine may have been banned meanwhile.
    """

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        self._path = path
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._recorded: dict[str, int] = {}  # by this run itself; used when the file cannot be written
        self._has_warned = False

    def refuse_while_banned(self, pool: str) -> None:
        """Raise ExchangeBanned while `pool` is banned."""
        with self._lock:
            until_ms = self._until_ms().get(pool, 0)
        if until_ms > self._now_ms():
            raise ExchangeBanned(
                f"the exchange has banned this address from {pool} until {format_ms(until_ms // 1000 * 1000)}; "
                f"no request was sent. Run again after that (recorded in {self._path})",
                until_ms,
            )

    def record(self, pool: str, for_ms: int) -> int:
        """Record that `pool` is banned for `for_ms` from now; return until when (epoch ms)."""
        return self._note(pool, for_ms)

    def record_pause(self, pool: str, for_ms: int) -> None:
        """Record that `pool` must get no request for `for_ms` from now (Retry-After)."""
        self._note(_pause_of(pool), for_ms)

    def pause_left_ms(self, pool: str) -> int:
        """Return the rest of the pause of `pool` in ms; 0 when it is not paused."""
        with self._lock:
            until_ms = self._until_ms().get(_pause_of(pool), 0)
        # A longer rest means that this machine's clock was set back after the pause was recorded.
        return min(max(0, until_ms - self._now_ms()), LONGEST_BACK_OFF_S * 1000)

    def _note(self, key: str, for_ms: int) -> int:
        with self._lock:
            self._recorded[key] = max(self._until_ms().get(key, 0), self._now_ms() + for_ms)
            beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                beside.write_text(json.dumps(self._until_ms()), encoding="utf-8")
                beside.replace(self._path)
            except OSError as error:
                _log.warning("the exchange's ban or pause cannot be recorded in %s: %s", self._path, error)
                with suppress(OSError):
                    beside.unlink(missing_ok=True)
            return self._recorded[key]

    def _until_ms(self) -> dict[str, int]:
        recorded = self._load()
        return {pool: max(recorded.get(pool, 0), self._recorded.get(pool, 0)) for pool in {*recorded, *self._recorded}}

    def _load(self) -> dict[str, int]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(pool): int(until_ms) for pool, until_ms in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            if not self._has_warned:
                self._has_warned = True
                _log.warning("%s is unreadable and is ignored: %s", self._path, error)
            return {}


def _pause_of(pool: str) -> str:
    return f"{pool} pause"
