"""The events of the recorded sessions, whatever their file's form."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def events_of(folder: Path, most_of_a_file: int = 3_000) -> Iterator[dict[str, Any]]:
    """Yield the first events of each session that needs no tool beyond Python to be read."""
    for path in sorted(folder.iterdir()):
        if path.name.endswith((".gz", ".jsonl")):
            text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
            for line in text.splitlines()[:most_of_a_file]:
                start = line.find("{")
                if start >= 0 and (event := _event(line[start:])) is not None:
                    yield event


def _event(text: str) -> dict[str, Any] | None:
    message = json.loads(text)
    event = message.get("data", message)
    return event if isinstance(event, dict) else None
