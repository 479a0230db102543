-- Whether the candles are of the real exchange or of its test network, which must never be mixed.
create table public.fetch_environment (
    exchange text primary key,
    is_testnet boolean not null
);
comment on table public.fetch_environment is
    'OHLCV Data Fetcher: whether the candles here are of the real exchange or of its test network';
-- Whatever was fetched until now is of the real one.
insert into public.fetch_environment select 'binance', false where exists (select from public.ohlcv_ledger);
