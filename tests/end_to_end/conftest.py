from __future__ import annotations

from collections.abc import Iterator

import pytest
from crash_engine import Bench, open_bench
from live_program import live
from small_market import exchange, program

__all__ = ["exchange", "live", "program"]


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    """A server and an exchange on which runs are killed, and the server too: one for each of pytest's processes."""
    with open_bench() as made:
        yield made
