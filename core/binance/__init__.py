"""Pure facts of Binance (docs/binance.md): paths, weights, page rules, archive names."""
