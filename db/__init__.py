"""Where candles rest: connection, embedded server, schema, operations. SQL stands nowhere else."""
