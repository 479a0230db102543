-- Market data other than candles: trades, order books, tickers, mark prices, funding rates.
-- A program of an earlier version refuses this version: its reset and its backups would miss these tables.

create table public.market_instruments (
    id integer generated always as identity primary key,
    market text not null,
    symbol text not null,
    unique (market, symbol)
);
comment on table public.market_instruments is 'OHLCV Data Fetcher: instruments that market data is kept of';

create table public.market_agg_trades (
    instrument_id integer not null,
    time timestamptz not null,
    agg_id bigint not null,
    price numeric not null,
    quantity numeric not null,
    first_trade_id bigint not null,
    last_trade_id bigint not null,
    is_buyer_maker boolean not null,
    source text not null,
    primary key (instrument_id, time, agg_id)
);
comment on table public.market_agg_trades is 'OHLCV Data Fetcher: aggregate trades';

create table public.market_trades (
    instrument_id integer not null,
    time timestamptz not null,
    trade_id bigint not null,
    price numeric not null,
    quantity numeric not null,
    is_buyer_maker boolean not null,
    source text not null,
    primary key (instrument_id, time, trade_id)
);
comment on table public.market_trades is 'OHLCV Data Fetcher: single trades';

create table public.market_depth (
    instrument_id integer not null,
    time timestamptz not null,
    received_at timestamptz not null,
    last_update_id bigint not null,
    levels smallint not null,
    bid_prices numeric[] not null,
    bid_quantities numeric[] not null,
    ask_prices numeric[] not null,
    ask_quantities numeric[] not null,
    primary key (instrument_id, time, last_update_id)
);
comment on table public.market_depth is 'OHLCV Data Fetcher: snapshots of order books, best price first';

create table public.market_tickers (
    instrument_id integer not null,
    time timestamptz not null,
    price_change numeric not null,
    price_change_percent numeric not null,
    weighted_avg_price numeric not null,
    last_price numeric not null,
    last_quantity numeric not null,
    open numeric not null,
    high numeric not null,
    low numeric not null,
    volume numeric not null,
    quote_volume numeric not null,
    open_time timestamptz not null,
    close_time timestamptz not null,
    first_trade_id bigint not null,
    last_trade_id bigint not null,
    trades bigint not null,
    primary key (instrument_id, time)
);
comment on table public.market_tickers is 'OHLCV Data Fetcher: tickers of the last 24 hours';

create table public.market_mark_prices (
    instrument_id integer not null,
    time timestamptz not null,
    mark_price numeric not null,
    average_mark_price numeric,
    index_price numeric,
    settle_price numeric not null,
    funding_rate numeric,
    next_funding_time timestamptz,
    primary key (instrument_id, time)
);
comment on table public.market_mark_prices is 'OHLCV Data Fetcher: mark prices, with the estimate of the next funding rate';

create table public.market_funding_rates (
    instrument_id integer not null,
    funding_time timestamptz not null,
    funding_rate numeric not null,
    mark_price numeric,
    source text not null,
    primary key (instrument_id, funding_time)
);
comment on table public.market_funding_rates is 'OHLCV Data Fetcher: settled funding rates';

-- Trades that did not come, by their ids, which run without holes. Both ends are inclusive.
create table public.stream_gaps (
    instrument_id integer not null references public.market_instruments,
    kind text not null,
    first_id bigint not null,
    last_id bigint not null,
    gap_start timestamptz not null,
    gap_end timestamptz not null,
    status text not null default 'missing' check (status in ('missing', 'healed', 'lost')),
    found_at timestamptz not null,
    changed_at timestamptz not null,
    reason text not null default '',
    primary key (instrument_id, kind, first_id),
    check (last_id >= first_id)
);
comment on table public.stream_gaps is 'OHLCV Data Fetcher: trades that live streams did not deliver';
create index stream_gaps_missing on public.stream_gaps (instrument_id, kind) where status = 'missing';
