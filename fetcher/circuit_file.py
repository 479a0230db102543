"""Keeps the circuits of hosts in a file, so that live processes on one machine leave a host alone together."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from core.circuit_breaker import Circuit
from core.errors import ExchangeUnavailable
from core.times import format_ms

_log = logging.getLogger(__name__)

_lock = threading.Lock()  # of all threads of this process; two processes at once may both send a trial


class CircuitFile:
    """The circuit of one host. Thread-safe. A file that cannot be read or written counts as one that is not there."""

    def __init__(self, path: Path, host: str, now_ms: Callable[[], int]) -> None:
        self._path, self._host, self._now_ms = path, host, now_ms

    def refuse_while_open(self) -> None:
        """Note that a request is about to be sent. Raises ExchangeUnavailable while the host is left alone."""
        with _lock:
            known = self._load()
            circuit = known.get(self._host)
            if circuit is None:
                return
            now_ms = self._now_ms()
            asked = circuit.asked(now_ms)
            if asked is None:
                next_ms = circuit.next_ms(now_ms)
                raise ExchangeUnavailable(
                    f"{self._host} has failed again and again and is left alone until "
                    f"{format_ms(next_ms // 1000 * 1000)}; then one request tries whether it is back "
                    f"(kept in {self._path})"
                )
            if asked != circuit:
                self._save({**known, self._host: asked})

    def failed(self) -> None:
        """Note a failure of the host."""
        with _lock:
            known = self._load()
            before = known.get(self._host, Circuit())
            circuit = before.failed(self._now_ms())
            self._save({**known, self._host: circuit})
        if circuit.open_ms and circuit.open_ms != before.open_ms:
            _log.warning("%s fails again and again: left alone for %d s", self._host, circuit.open_ms // 1000)

    def answered(self) -> None:
        """Note that the host is well."""
        with _lock:
            known = self._load()
            circuit = known.pop(self._host, None)
            if circuit is None:
                return
            self._save(known)
        if circuit.open_ms:
            _log.info("%s answers again", self._host)

    def _load(self) -> dict[str, Circuit]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(host): _read(one) for host, one in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:
            _log.warning("%s is unreadable and is ignored: %s", self._path, error)
            return {}

    def _save(self, circuits: dict[str, Circuit]) -> None:
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            if not circuits:
                self._path.unlink(missing_ok=True)
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps({host: asdict(one) for host, one in circuits.items()}), encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            _log.warning("failures of %s cannot be kept in %s: %s", self._host, self._path, error)
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def _read(found: dict[str, object]) -> Circuit:
    failed = found["failed_ms"]
    if not isinstance(failed, list):
        raise TypeError("failed_ms is no list")
    times = (int(str(found[name])) for name in ("open_ms", "until_ms", "trial_ms"))
    return Circuit(tuple(int(one) for one in failed), *times)
