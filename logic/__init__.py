"""What the program does with core, fetcher and db: plan, fetch, backfill, check and heal gaps, verify."""
