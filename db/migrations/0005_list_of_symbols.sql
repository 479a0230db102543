-- public.symbols is the list that a person edits, read where there is no symbols.yml; the catalog is public.ohlcv_series.

-- A relation of that name that is somebody else's stays as it is.
do $$
begin
    if to_regclass('public.symbols') is null then
        create table public.symbols (
            id           integer generated always as identity primary key,
            symbol       text not null,                 -- such as BTCUSDT
            market       text not null default 'spot',  -- spot, um or cm
            "interval"   text,                          -- null: DEFAULT_INTERVAL
            active       boolean not null default true, -- whether runs fetch it
            wanted_from  timestamptz,                   -- null: START_DATE, or its listing
            wanted_until timestamptz                    -- null: END_DATE, or the last closed candle; exclusive
        );
        comment on table public.symbols is 'OHLCV Data Fetcher: the series that a run without symbols.yml fetches; yours to edit';
        insert into public.symbols (symbol, market, "interval", active, wanted_from, wanted_until)
        select symbol, market, "interval", active, wanted_from, wanted_until from public.ohlcv_series order by id;
    end if;
end $$;
-- What was only ever written here by hand, and no run has entered, stands in the list now.
delete from public.ohlcv_series where table_name is null and id not in (
    select series_id from public.ohlcv_ledger union select series_id from public.ohlcv_gaps
    union select series_id from public.ohlcv_corrections);

-- The mark of what is ours. Nothing of this program changes or drops a table of these names that lacks it.
comment on table public.ohlcv_series is 'OHLCV Data Fetcher: catalog of the series that were ever fetched; kept by the program';
comment on table public.ohlcv_ledger is 'OHLCV Data Fetcher: one row per committed span, written in the transaction of its candles';
comment on table public.ohlcv_gaps is 'OHLCV Data Fetcher: one row per gap: missing, then healed or found not to be at the exchange; see docs/gaps.md';
comment on table public.ohlcv_corrections is 'OHLCV Data Fetcher: every candle that verify --repair changed, with its old and new values';
comment on table public.ohlcv_external_changes is 'OHLCV Data Fetcher: updates and deletes of stored candles that were not this program''s';
comment on table public.ohlcv_weight is 'OHLCV Data Fetcher: request weight reserved in the present minute, so that runs at the same time keep one budget';
comment on table public.fetch_clock is 'OHLCV Data Fetcher: how far the exchange''s clock was ahead of this server''s, so that check knows what has closed without asking';
comment on table public.ohlcv_migrations is 'OHLCV Data Fetcher: the schema changes that were applied';
comment on function public.ohlcv_note_external_change() is 'OHLCV Data Fetcher: notes changes of candles by others';
-- The view over all series: ours where it shows candles.
do $$
begin
    if exists (select from pg_class join pg_attribute on attrelid = pg_class.oid
               where pg_class.oid = to_regclass('public.ohlcv') and relkind = 'v' and attname = 'taker_buy_quote_volume') then
        comment on view public.ohlcv is 'OHLCV Data Fetcher: the candles of all series';
    end if;
end $$;
