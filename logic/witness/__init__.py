"""Holds stored candles against longer candles from another source, and decides where they differ."""
