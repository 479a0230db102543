"""Fetches the validated candles of a chunk, whatever its source."""
