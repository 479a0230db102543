"""One file per command. Ties config and logic together; prints results; returns the exit code."""
