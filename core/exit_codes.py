"""The exit codes of the process (docs/commands.md), and which of several outcomes decides the exit code."""

from __future__ import annotations

from collections.abc import Iterable

EXIT_OK = 0
EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3
EXIT_LOCKED = 4
EXIT_EXCHANGE = 5
EXIT_DATABASE = 6

# The most urgent for a person comes first; a fault of this program outranks everything else. A locked series is in
# another run's hands, so it hides nothing.
_WORST_FIRST = (EXIT_FAULT, EXIT_USAGE, EXIT_DATABASE, EXIT_EXCHANGE, EXIT_INCOMPLETE, EXIT_LOCKED, EXIT_OK)


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of a run whose parts ended with `codes`; EXIT_OK when there are none."""
    return min(codes, key=_WORST_FIRST.index, default=EXIT_OK)
