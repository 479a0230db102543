"""Faults on demand: what a script makes go wrong with chosen requests."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from demo.candle_rows import Row
from demo.reply import JSON_TYPE


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with this instead. A dict or list becomes JSON; `headers` come on top of the usual ones."""

    status: int
    body: bytes | str | dict[str, Any] | list[Any] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE

    def encoded(self) -> bytes:
        """Return the body as bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else orjson.dumps(self.body)


@dataclass(frozen=True, slots=True)
class CutBody:
    """Announce the whole length, send half, close the connection."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Close the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Answer as usual, but only after `seconds` (real time)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AlterRows:
    """Pass the rows of a klines answer through `change`. Answers other than 200 with rows stay as they are."""

    change: Callable[[list[Row]], list[Row]]


@dataclass(frozen=True, slots=True)
class AlterBody:
    """Pass the body of any answer through `change`: a damaged zip, a stale CHECKSUM."""

    change: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class AlterArchive:
    """Pass the lines of an archive's CSV through `change`; its CHECKSUM fits the altered zip.

    Only for rules that match the zip and its CHECKSUM alike. Other answers stay as they are.
    """

    change: Callable[[list[bytes]], list[bytes]]

    def altered(self, content: bytes) -> bytes:
        """Return the zip `content` with the changed lines; the same bytes each time."""
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            [member] = archive.infolist()
            lines = archive.read(member).splitlines(keepends=True)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            info = zipfile.ZipInfo(member.filename, member.date_time)
            archive.writestr(info, b"".join(self.change(lines)), zipfile.ZIP_DEFLATED, compresslevel=1)
        return packed.getvalue()


Action = Answer | CutBody | Reset | Stall | AlterRows | AlterBody | AlterArchive


@dataclass(slots=True)
class _Rule:
    path_contains: str
    action: Action
    times: int
    after: int
    but_not: str

    def is_for(self, target: str) -> bool:
        return self.path_contains in target and not (self.but_not and self.but_not in target)


class FaultScript:
    """The faults that are still to come, in the order in which they were added. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []

    def add(self, path_contains: str, action: Action, times: int = 1, after: int = 0, *, but_not: str = "") -> None:
        """Let `action` happen to the next `times` requests whose target contains `path_contains`.

        The target is the path with its query, decoded: `/api/v3/klines?symbol=BTCUSDT&limit=5`. The
        first `after` matching requests pass, whether or not another fault takes them. A target that
        contains `but_not` does not match: `.zip` but not `.CHECKSUM` is the zips alone. One request
        meets one fault: the first that was added and is due.
        """
        with self._lock:
            self._rules.append(_Rule(path_contains, action, times, after, but_not))

    def take(self, target: str) -> Action | None:
        """Return what is to happen to a request for `target` and use it up, or None."""
        taken: Action | None = None
        with self._lock:
            for rule in self._rules:
                if not rule.is_for(target):
                    continue
                if rule.after > 0:
                    rule.after -= 1
                elif taken is None:
                    rule.times -= 1
                    taken = rule.action
            self._rules = [rule for rule in self._rules if rule.times > 0]
        return taken

    def pending(self) -> int:
        """Return how many faults have not happened yet."""
        with self._lock:
            return sum(rule.times for rule in self._rules)

    def clear(self) -> None:
        """Drop all faults that have not happened yet."""
        with self._lock:
            self._rules = []
