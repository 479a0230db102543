"""What happens: backfill, checker, state files. Ties core, fetcher and db together."""
