"""The backfill: fetches every wanted series up to the last closed candle."""
