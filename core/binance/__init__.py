"""Facts of Binance: paths, weights, page rules, archive names. Pure."""
