"""Remembers bans between runs, so that a cron line does not send requests into one (which prolongs it)."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from core.errors import ExchangeBanned
from core.times import format_ms

_log = logging.getLogger(__name__)


class BanFile:
    """Until when which address pool (`spot`, `futures`) is banned, by this machine's clock. Thread-safe."""

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        self._path = path
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._until_ms = self._load()

    def refuse_while_banned(self, pool: str) -> None:
        """Raise ExchangeBanned while `pool` is banned."""
        until_ms = self._until_ms.get(pool, 0)
        if until_ms > self._now_ms():
            raise ExchangeBanned(
                f"the exchange has banned this address from {pool} until {format_ms(until_ms // 1000 * 1000)}; "
                f"no request was sent. Run again after that (recorded in {self._path})",
                until_ms,
            )

    def record(self, pool: str, for_ms: int) -> int:
        """Note that `pool` is banned for `for_ms` from now and return until when (epoch ms)."""
        with self._lock:
            until_ms = max(self._until_ms.get(pool, 0), self._now_ms() + for_ms)
            self._until_ms[pool] = until_ms
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_text(json.dumps(self._until_ms), encoding="utf-8")
            except OSError as error:
                _log.warning("the ban cannot be recorded in %s: %s", self._path, error)
            return until_ms

    def _load(self) -> dict[str, int]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(pool): int(until_ms) for pool, until_ms in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("%s is unreadable and is ignored: %s", self._path, error)
            return {}
