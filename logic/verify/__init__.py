"""Stored candles against the exchange, and longer ones against 1m."""
