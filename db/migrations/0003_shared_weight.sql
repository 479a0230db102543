-- The request weight that runs which share this database have taken for themselves in a minute of the exchange.

create table public.ohlcv_weight (
    pool     text primary key, -- spot or futures: what the exchange counts together
    minute   bigint not null,  -- minutes since the epoch, by the exchange's clock
    reserved integer not null  -- by all runs together
);
comment on table public.ohlcv_weight is 'Request weight reserved in the present minute, so that runs at the same time keep one budget';
