-- Which processes stream what, with a heartbeat; and resume pointers, as views over catalog and ledger.

create table public.stream_sessions (
    id           text primary key,              -- the run, as in the ledger and in the log
    host         text not null,
    pid          integer not null,
    started_at   timestamptz not null default clock_timestamp(),
    heartbeat_at timestamptz not null default clock_timestamp(), -- every ten seconds while it lives
    ended_at     timestamptz,                   -- null: it lives, or died without a word
    settings     jsonb not null,
    statistics   jsonb not null default '{}'    -- of the whole process, as `stream --json` has them
);
comment on table public.stream_sessions is 'OHLCV Data Fetcher: one row a process that streams; one without heartbeat for 25 seconds has died';

create table public.stream_status (
    session_id            text not null references public.stream_sessions (id) on delete cascade,
    market                text not null,
    symbol                text not null,
    kind                  text not null,
    "interval"            text not null,        -- empty for what has none
    state                 text not null check (state in ('connecting', 'live', 'silent', 'healing', 'syncing',
                                                             'stopped')),
    last_event_at         timestamptz,          -- by the exchange's clock
    last_closed_open_time timestamptz,          -- of the newest closed candle that came
    last_price            numeric,
    messages              bigint not null,
    messages_per_second   double precision not null, -- of the last minute
    latency_p95_ms        double precision,     -- from the exchange's event time to its reading here
    reconnects            bigint not null,
    heals                 bigint not null,
    errors                bigint not null,      -- frames that could not be used
    silent_since          timestamptz,          -- by the exchange's clock
    primary key (session_id, market, symbol, kind, "interval")
);
comment on table public.stream_status is 'OHLCV Data Fetcher: one row a live stream of a process, every ten seconds';

-- The newest candle of a table in [since, until), null where there is none or no such table.
create function public.ohlcv_newest_candle(table_name text, since timestamptz, until timestamptz)
returns timestamptz language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    newest timestamptz;
begin
    execute format('select max(time) from public.%I where time >= $1 and time < $2', table_name)
        into newest using since, until;
    return newest;
exception when undefined_table or undefined_column then
    return null;
end $$;
comment on function public.ohlcv_newest_candle is 'OHLCV Data Fetcher: the newest candle of a series in a range';

create function public.ohlcv_interval_length("interval" text)
returns interval language sql immutable set search_path = pg_catalog, pg_temp as $$
    select (rtrim("interval", 'smhdwM') || case right("interval", 1) when 's' then ' seconds' when 'm' then ' minutes'
        when 'h' then ' hours' when 'd' then ' days' when 'w' then ' weeks' when 'M' then ' months' end)::interval
$$;
comment on function public.ohlcv_interval_length is 'OHLCV Data Fetcher: how long a candle is';

-- The last open time of the interval's grid at or before a moment, and the first at or after it (core/intervals.py).
create function public.ohlcv_grid_floor("interval" text, moment timestamptz)
returns timestamptz language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case "interval"
        when '1M' then date_trunc('month', moment, 'UTC')
        when '1w' then date_bin('7 days', moment, '1970-01-05 00:00+00')
        when '3d' then date_bin('3 days', moment, '1970-01-02 00:00+00')
        else date_bin(public.ohlcv_interval_length("interval"), moment, '1970-01-01 00:00+00')
    end
$$;
comment on function public.ohlcv_grid_floor is 'OHLCV Data Fetcher: the open time of the candle that is open at a moment';
create function public.ohlcv_grid_ceil("interval" text, moment timestamptz)
returns timestamptz language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case when public.ohlcv_grid_floor("interval", moment) = moment then moment
        else public.ohlcv_grid_floor("interval", ((moment at time zone 'UTC')
                                                  + public.ohlcv_interval_length("interval")) at time zone 'UTC') end
$$;
comment on function public.ohlcv_grid_ceil is 'OHLCV Data Fetcher: the first open time at or after a moment';

-- Two names under which other programs keep such pointers: what is there stays as it is.
do $$
begin
    if to_regclass('public.sync_state') is null then
        create view public.sync_state as
        select market, symbol, "interval", last_closed_ts,
               ((last_closed_ts at time zone 'UTC') + public.ohlcv_interval_length("interval")) at time zone 'UTC'
                   as last_close_at,
               lower(stretch) as covered_from, upper(stretch) as covered_until
        from public.ohlcv_series
             join (select series_id, range_agg(tstzrange(span_start, span_end)) as covered
                   from public.ohlcv_ledger group by series_id) as ledger on series_id = ohlcv_series.id
             cross join lateral (select stretch from unnest(covered) as stretch order by stretch limit 1) as first
             cross join lateral public.ohlcv_newest_candle(table_name, lower(stretch), upper(stretch)) as last_closed_ts;
        comment on view public.sync_state is
            'OHLCV Data Fetcher: how far each series goes without a hole; fetch on from covered_until';
    else
        raise warning 'public.sync_state is another program''s and stays as it is; there is no view of that name here';
    end if;
    if to_regclass('public.backfill_state') is null then
        -- What is wanted of a series is decided as in core/expected.py; closed is a candle three seconds after its end,
        -- by the exchange's clock.
        create view public.backfill_state as
        select symbol as asset, market, symbol, "interval",
               coalesce(begins >= ends or tstzrange(begins, greatest(begins, ends)) <@ covered, false)
                   and not exists (select from public.ohlcv_gaps
                                   where series_id = ohlcv_series.id and ohlcv_gaps.status = 'missing') as completed,
               public.ohlcv_newest_candle(table_name, '-infinity', 'infinity') as last_fetched_timestamp,
               updated_at
        from public.ohlcv_series
             left join (select series_id, range_agg(tstzrange(span_start, span_end)) as covered,
                               max(fetched_at) as updated_at
                        from public.ohlcv_ledger group by series_id) as ledger on series_id = ohlcv_series.id
             cross join lateral (
                 select coalesce((select ahead_ms from public.fetch_clock as clock
                                  where clock.market = ohlcv_series.market limit 1), 0) as ahead_ms) as clock
             cross join lateral (
                 select case when not active or listing is null then lower(covered)
                             else greatest(public.ohlcv_grid_floor("interval", listing),
                                           public.ohlcv_grid_ceil("interval", wanted_from)) end as begins,
                        case when not active then upper(covered)
                             else least(public.ohlcv_grid_ceil("interval", delisting),
                                        public.ohlcv_grid_ceil("interval", wanted_until),
                                        public.ohlcv_grid_floor("interval", now() - interval '3 seconds'
                                                                            + ahead_ms * interval '1 millisecond'))
                             end as ends) as wanted
        where table_name is not null;
        comment on view public.backfill_state is
            'OHLCV Data Fetcher: whether all that is wanted of each series is there, and its newest candle';
    else
        raise warning 'public.backfill_state is another program''s and stays as it is; there is no view of that name here';
    end if;
end $$;
