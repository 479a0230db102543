"""Machine-readable output: one JSON document on stdout."""

from __future__ import annotations

import json
import sys

from core.times import to_datetime


def print_json(document: object) -> None:
    """Print `document` as one JSON document."""
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


def time_text(ms: int | None) -> str | None:
    """Return full ISO time with Z, always of one form, or None."""
    if ms is None:
        return None
    text = to_datetime(ms).replace(tzinfo=None).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
    return f"{text}Z"
