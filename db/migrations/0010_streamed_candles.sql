-- Candles of live streams: stored many series at a time, and provisional until they were held against REST.
-- The source of their ledger rows is 'stream', which programs of earlier versions do not know: they refuse this version.

-- Stores each candle that is new in the table of its name; one that is there already stays as it is. Returned are the
-- candles that were not inserted: their place in the arrays, and the values that the table holds, or null where it has
-- none. Of a candle that is not new (the ledger covers its slot) nothing is ever inserted.
create function public.ohlcv_store_closed(
    tables text[], times timestamptz[], are_new boolean[],
    opens numeric[], highs numeric[], lows numeric[], closes numeric[], volumes numeric[], quote_volumes numeric[],
    trade_counts integer[], taker_buy_volumes numeric[], taker_buy_quote_volumes numeric[],
    out place integer, out held text[])
returns setof record language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    given record;
    inserted bigint;
begin
    for given in
        select * from unnest(tables, times, are_new, opens, highs, lows, closes, volumes, quote_volumes, trade_counts,
                             taker_buy_volumes, taker_buy_quote_volumes) with ordinality
            as candle(name, at, is_new, o, h, l, c, v, q, n, tv, tq, place)
    loop
        if given.is_new then
            execute format(
                'insert into public.%I (time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,
                 taker_buy_quote_volume) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (time) do nothing',
                given.name)
                using given.at, given.o, given.h, given.l, given.c, given.v, given.q, given.n, given.tv, given.tq;
            get diagnostics inserted = row_count;
            continue when inserted = 1;
        end if;
        place := given.place;
        held := null;
        execute format(
            'select array[open::text, high::text, low::text, close::text, volume::text, quote_volume::text,
             trades::text, taker_buy_volume::text, taker_buy_quote_volume::text] from public.%I where time = $1',
            given.name)
            into held using given.at;
        if given.is_new and held is null then
            raise exception 'table public.% does not keep the candle of % that was just given: look at its triggers '
                'and rules', given.name, given.at;
        end if;
        return next;
    end loop;
end $$;
comment on function public.ohlcv_store_closed is 'OHLCV Data Fetcher: stores closed candles of many series';

create view public.ohlcv_provisional as
select market, symbol, "interval", span_start, span_end, rows
from public.ohlcv_ledger join public.ohlcv_series on ohlcv_series.id = series_id
where source = 'stream' and verified_at is null;
comment on view public.ohlcv_provisional is
    'OHLCV Data Fetcher: streamed candles that were not held against REST yet; an audit may still correct them';
-- For the audit and for status, which look for these few among all rows.
create index ohlcv_ledger_provisional on public.ohlcv_ledger (series_id, span_start)
    where source = 'stream' and verified_at is null;
