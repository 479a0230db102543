"""Gaps: finds missing candles, rechecks gaps at the exchange, finds their reasons; the command `check`."""
