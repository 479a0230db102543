"""What a live service has done so far. Written by several threads, each its own fields."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from core.latencies import Latencies


@dataclass(slots=True)
class LiveCounters:
    """Counts since the start."""

    frames: int = 0  # of candles, closed or not
    finals: int = 0  # closed candles that came
    stored: int = 0
    already_there: int = 0  # equal: from another connection, a heal or another run
    conflicts: int = 0  # a stored candle has other values; it stays, and the audit or verify tells which is right
    dropped: int = 0  # closed candles that had to be left to a heal, because too many waited for the database
    unusable: Counter[str] = field(default_factory=Counter)  # frames by reason
    connections: int = 0  # opened
    reconnects: Counter[str] = field(default_factory=Counter)  # by reason
    heals: int = 0
    healed: int = 0  # candles
    audits: int = 0
    audited: int = 0  # candles found equal, or corrected
    corrected: int = 0  # candles
    records_stored: Counter[str] = field(default_factory=Counter)  # trades and prices, by kind
    records_already_there: int = 0
    record_conflicts: int = 0  # a stored record of the same key has other values, and stays
    records_lost: int = 0  # prices or trades that could not be stored; of trades the gap is healed
    id_gaps: int = 0  # of trades, that were found
    trades_healed: int = 0
    books_synced: int = 0  # times that an order book became ready
    books_restarted: Counter[str] = field(default_factory=Counter)  # that were ready and are not any more, by reason
    fundings: int = 0  # settled rates that were stored
    faults: int = 0  # unexpected faults of this program
    to_commit: Latencies = field(default_factory=Latencies)  # from reading a final frame to its committed row
