"""Machine-readable output: one JSON document on stdout."""

from __future__ import annotations

import json
import sys

from core.ranges import Span
from core.times import iso_ms


def print_json(document: object) -> None:
    """Print `document` as one JSON document."""
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


def time_text(ms: int | None) -> str | None:
    """Return full ISO time with Z, always of one form, or None."""
    return None if ms is None else iso_ms(ms)


def span_document(span: Span) -> dict[str, str | None]:
    """Return a range for machines; the end is exclusive."""
    return {"start": time_text(span.start_ms), "end": time_text(span.end_ms)}
