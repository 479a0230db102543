"""Binance: its REST API and its archives, together as one `ExchangeSource`."""
