"""Where candles come from: what an exchange must offer (source.py), HTTP, weight budget, bans and clock."""
