"""`state/<market>_<symbol>_<interval>.json`: up to when a series is fetched.

A copy of what the database knows, for people and other programs to read; safe to delete.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from core.series import Series
from core.times import MS_PER_DAY

_log = logging.getLogger(__name__)

VERSION = 1


@dataclass(frozen=True, slots=True)
class SeriesState:
    """The content of one state file. Times are epoch ms; ends are exclusive."""

    listing_ms: int | None = None
    covered_until_ms: int | None = None
    last_candle_ms: int | None = None
    last_run_id: str | None = None
    last_run_ms: int | None = None
    last_result: str | None = None


def state_path(folder: Path, series: Series) -> Path:
    """Return the path of the series' state file."""
    return folder / f"{series.file_stem}.json"


def load_state(folder: Path, series: Series) -> SeriesState | None:
    """Return the series' state, or None when it is missing, corrupt or from a newer program.

    A file that cannot be used is logged; the caller then uses only the database.
    """
    path = state_path(folder, series)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["version"] != VERSION:
            raise ValueError(f"version {found['version']!r}, this program writes {VERSION}")
        named = (found["market"], found["symbol"], found["interval"])
        if named != _identity(series):
            raise ValueError(f"it belongs to {named}")
        state = SeriesState(**found["state"])
        for name, value in asdict(state).items():
            if value is not None and not isinstance(value, int if name.endswith("_ms") else str):
                raise ValueError(f"{name} is {value!r}")
        return state
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _log.warning("state file %s cannot be used (%s); it is rebuilt from the database", path, error)
        return None


def save_state(folder: Path, series: Series, state: SeriesState) -> None:
    """Replace the series' state file. Raises OSError.

    It is written under another name and renamed, so that readers never see a part of it. It is not synced to disk:
    after a power failure it may be gone or empty, and is then rebuilt from the database.
    """
    market, symbol, interval = _identity(series)
    document = {
        "version": VERSION,
        "market": market,
        "symbol": symbol,
        "interval": interval,
        "state": asdict(state),
    }
    path = state_path(folder, series)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    text = json.dumps(document, indent=1)
    try:
        try:
            beside.write_text(text, encoding="utf-8")
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
            beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path, now_ms: int) -> None:
    """Delete temporary files in the state folder that are more than a day old; killed runs leave them."""
    for path in folder.glob("*.tmp"):
        try:
            if now_ms - path.stat().st_mtime * 1000 > MS_PER_DAY:
                path.unlink()
        except OSError as error:  # deleted meanwhile, or no permission
            _log.debug("%s cannot be removed: %s", path, error)


def _identity(series: Series) -> tuple[str, str, str]:
    return series.market.value, series.symbol, series.interval.code
