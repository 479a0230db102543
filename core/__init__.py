"""What a candle is: series, intervals, ranges, plans, validation, errors. Pure: no clock, no I/O."""
