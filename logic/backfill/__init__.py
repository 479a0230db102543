"""The main job: every wanted series up to the last closed candle."""
