-- Which committed spans a source other than their own has confirmed.

alter table public.ohlcv_ledger add column witnessed_at timestamptz; -- null: not yet
alter table public.ohlcv_ledger add column witnessed_by text;        -- rest or archive
-- Candles of the span that two other sources contradict; verify --repair writes theirs.
alter table public.ohlcv_ledger add column contradicted integer not null default 0;
