-- Ledger spans of one series never overlap, and an external change says which candles it touched.

-- Of rows that overlap (left by two runs at once, behind a pooler), the first committed one stays. The others are kept
-- here as they were; what only they covered is fetched again and compared with the stored candles.
do $$
declare
    later public.ohlcv_ledger;
    moved bigint := 0;
begin
    for later in
        select * from public.ohlcv_ledger where series_id in (
            select series_id from (
                select series_id, span_start, max(span_end) over (
                    partition by series_id order by span_start, id rows between unbounded preceding and 1 preceding)
                    as reached
                from public.ohlcv_ledger) as in_order
            where span_start < reached)
        order by id
    loop
        if exists (select from public.ohlcv_ledger as earlier
                   where earlier.series_id = later.series_id and earlier.id < later.id
                     and earlier.span_start < later.span_end and earlier.span_end > later.span_start) then
            if moved = 0 then
                create table public.ohlcv_ledger_overlaps (like public.ohlcv_ledger);
                comment on table public.ohlcv_ledger_overlaps is
                    'OHLCV Data Fetcher: ledger rows that overlapped earlier ones when that was still possible; nothing reads them';
            end if;
            insert into public.ohlcv_ledger_overlaps select later.*;
            delete from public.ohlcv_ledger where id = later.id;
            moved := moved + 1;
        end if;
    end loop;
    if moved > 0 then
        raise warning '% ledger rows overlapped others and are now in public.ohlcv_ledger_overlaps; what only they covered is fetched again', moved;
    end if;
end $$;

-- Two runs can never both commit a range, whatever became of their locks. A range of one number stands for the series,
-- because an equality needs the extension btree_gist, which not every role may create.
alter table public.ohlcv_ledger add constraint ohlcv_ledger_spans_are_disjoint exclude using gist (
    int8range(series_id::bigint, series_id::bigint, '[]') with &&, tstzrange(span_start, span_end) with &&);

alter table public.ohlcv_external_changes add column statements integer not null default 1; -- more: old ones, merged
alter table public.ohlcv_external_changes add column rows bigint;            -- null: not known how many
alter table public.ohlcv_external_changes add column first_time timestamptz; -- of the candles; null: any may be changed
alter table public.ohlcv_external_changes add column last_time timestamptz;  -- inclusive

-- With an argument the trigger has handed over the rows as old_rows, and of an update new_rows too.
create or replace function public.ohlcv_note_external_change() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp as $$
declare
    changed bigint;
    earliest timestamptz;
    latest timestamptz;
begin
    if current_setting('ohlcv.own_change', true) = 'on' then
        return null;
    end if;
    -- Somebody may have renamed the column, or given it another type.
    if tg_nargs > 0 and exists (select from pg_attribute where attrelid = tg_relid and attname = 'time'
                                and atttypid = 'timestamptz'::regtype and not attisdropped) then
        if tg_op = 'UPDATE' then
            select count(*) / 2, min("time"), max("time") into changed, earliest, latest
            from (select "time" from old_rows union all select "time" from new_rows) as touched;
        else
            select count(*), min("time"), max("time") into changed, earliest, latest from old_rows;
        end if;
        if changed = 0 then
            return null;
        end if;
    end if;
    insert into public.ohlcv_external_changes
        (table_name, operation, changed_by, application, rows, first_time, last_time)
    values (tg_table_name, lower(tg_op), session_user, current_setting('application_name', true),
            changed, earliest, latest);
    return null;
end $$;
