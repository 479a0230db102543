"""From a chunk to validated candles, whatever the source."""
