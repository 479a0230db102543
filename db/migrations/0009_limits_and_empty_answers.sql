-- What an earlier run or verification has learned of the exchange and the next one relies on.

-- Per minute, as the exchange last published it; null: not known. A run's first requests go by it.
alter table public.ohlcv_weight add column published_limit integer;

-- Where REST had no candle though one is stored, when verify last looked: answers as in public.ohlcv_gaps.evidence.
alter table public.ohlcv_ledger add column empty_answers jsonb;
