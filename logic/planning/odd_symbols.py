"""Says once which names in the exchange's list a pattern matches but this program cannot keep.

Remembered in `state/odd_symbols.json`: a run every five minutes would otherwise say it, and cron mail it, each time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

_log = logging.getLogger(__name__)

_FILE = "odd_symbols.json"


def report_odd_symbols(names: Sequence[str], state_dir: Path | None) -> None:
    """Log a warning about those of `names` that no earlier run has named; None: remember nothing."""
    path = None if state_dir is None else state_dir / _FILE
    known = _read(path) if path is not None else []
    fresh = [name for name in names if name not in known]
    if not fresh:
        return
    _log.warning(
        "skipped, not a symbol that this program can keep: %s; everything else is fetched",
        ", ".join(map(repr, fresh)),
    )
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(sorted({*known, *fresh})), encoding="utf-8")
        except OSError as error:  # then it is said again
            _log.debug("%s cannot be written: %s", path, error)


def _read(path: Path) -> list[str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet, or cut short: said once more
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
