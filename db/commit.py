"""Which run writes to which series; recorded with every row of the ledger and of the corrections."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommitContext:
    """The run that writes, and the series that it writes to."""

    series_id: int
    table: str
    run_id: str
    at_ms: int  # this machine's clock, epoch ms
