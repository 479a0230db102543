"""What is true of any exchange: series, intervals, ranges, plans, gaps, validation, errors. Pure: no clock, no I/O."""
