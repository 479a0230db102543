"""Live: closed candles of streams into the database, holes healed, what was streamed audited."""
