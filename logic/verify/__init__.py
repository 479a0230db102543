"""Compares stored candles with the exchange, and longer ones with 1m candles; repairs, and undoes repairs."""
