"""Where candles are stored: connections, embedded server, schema, operations. All SQL of the project is here."""
