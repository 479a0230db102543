"""Where candles come from: REST and public archives, behind one HTTP door."""
