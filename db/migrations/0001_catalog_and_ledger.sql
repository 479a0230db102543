-- The catalog of series and the ledger of what was committed from where.
-- Databases from before version 5 have the catalog as public.symbols; db/migrate.py renames it first.

create table public.ohlcv_series (
    id           integer generated always as identity primary key,
    market       text not null default 'spot' check (market in ('spot', 'um', 'cm')),
    symbol       text not null,
    "interval"   text not null default '1m',
    table_name   text unique,                   -- filled when the series is first run
    active       boolean not null default true, -- named by the list of the last run: symbols.yml, or public.symbols
    wanted_from  timestamptz,                   -- null: from its listing
    wanted_until timestamptz,                   -- null: to the last closed candle; exclusive
    listing      timestamptz,                   -- open time of the exchange's first candle
    delisting    timestamptz,                   -- end of its last candle, once it no longer trades
    status       text,                          -- the exchange's own word, such as TRADING or BREAK
    unique (market, symbol, "interval")
);
comment on table public.ohlcv_series is 'Catalog of series; synced from symbols.yml, or edited here when there is none';

create table public.ohlcv_ledger (
    id               bigint generated always as identity primary key,
    series_id        integer not null references public.ohlcv_series (id),
    span_start       timestamptz not null,      -- inclusive
    span_end         timestamptz not null check (span_end > span_start), -- exclusive
    source           text not null,             -- archive-monthly, archive-daily or rest
    archive_checksum text,                      -- sha256 of the zip
    rows             integer not null check (rows >= 0), -- candles that the source has in the span
    content_hash     text not null,             -- sha256 over them, see docs/storage.md
    fetched_at       timestamptz not null,
    run_id           text not null
);
comment on table public.ohlcv_ledger is 'One row per committed span, written in the transaction of its candles';
create index ohlcv_ledger_by_series on public.ohlcv_ledger (series_id, span_start);
