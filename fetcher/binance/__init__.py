"""Binance: REST, archives and what both offer together."""
