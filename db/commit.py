"""Which run writes to which series: what every committed row of ledger and corrections says of its origin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommitContext:
    """One run's writing to one series."""

    series_id: int
    table: str
    run_id: str
    at_ms: int  # this machine's clock, epoch ms
