-- Plain names for what was there, lists where text was split, and the exchange's clock.

alter table public.ohlcv_gaps drop constraint ohlcv_gaps_status_check;
update public.ohlcv_gaps set status = 'not_at_exchange' where status = 'absent';
alter table public.ohlcv_gaps add constraint ohlcv_gaps_status_check check (status in ('missing', 'not_at_exchange', 'healed'));
alter table public.ohlcv_gaps rename column lost to was_committed;
alter table public.ohlcv_gaps rename column looks to rechecks;
alter table public.ohlcv_gaps rename column next_look to next_recheck;
comment on table public.ohlcv_gaps is 'One row per gap: missing, then healed or found not to be at the exchange; see docs/gaps.md';

-- What happened to a gap has a kind of its own, so that no program has to read the text.
update public.ohlcv_gaps set history = (
    select coalesce(jsonb_agg(event || jsonb_build_object('kind', case
        when event ->> 'event' like 'found%' then 'found'
        when event ->> 'event' like 'split from %' then 'split'
        when event ->> 'event' like 'merged from %' then 'merged'
        when event ->> 'event' like 'healed: %' then 'healed'
        when event ->> 'event' like 'absent: %' then 'not_at_exchange'
        when event ->> 'event' like 'missing again: %' then 'reopened'
        else 'reason' end) order by place), '[]')
    from jsonb_array_elements(history) with ordinality as events(event, place));

alter table public.ohlcv_ledger rename column proven_at to hash_checked_at;
alter table public.ohlcv_ledger rename column proven_before to hash_checked_before;
alter table public.ohlcv_ledger rename column tried_at to attempted_at;

-- Updates and deletes of candles by anything but this program.
alter table public.ohlcv_foreign_changes rename to ohlcv_external_changes;
alter index public.ohlcv_foreign_changes_by_table rename to ohlcv_external_changes_by_table;
alter index public.ohlcv_foreign_changes_pkey rename to ohlcv_external_changes_pkey;
alter sequence public.ohlcv_foreign_changes_id_seq rename to ohlcv_external_changes_id_seq;
alter function public.ohlcv_note_foreign_change() rename to ohlcv_note_external_change;
create or replace function public.ohlcv_note_external_change() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('ohlcv.own_change', true) is distinct from 'on' then
        insert into public.ohlcv_external_changes (table_name, operation, changed_by, application)
        values (tg_table_name, lower(tg_op), session_user, current_setting('application_name', true));
    end if;
    return null;
end $$;
-- The triggers are made anew: TimescaleDB renames one on the chunks too, where none is, and fails. One that was off
-- stays off, so that check goes on reading all values of that table.
do $$
declare watched record;
begin
    for watched in
        select tgrelid::regclass as candles, tgenabled as fires from pg_trigger
        where tgname = 'ohlcv_note_foreign_change' and tgparentid = 0
          and tgrelid not in (select inhrelid from pg_inherits)
    loop
        execute format('drop trigger ohlcv_note_foreign_change on %s', watched.candles);
        execute format('create trigger ohlcv_note_external_change after update or delete or truncate on %s
                        for each statement execute function public.ohlcv_note_external_change()', watched.candles);
        execute format('alter table %s %s trigger ohlcv_note_external_change', watched.candles,
                       case watched.fires when 'O' then 'enable' when 'A' then 'enable always'
                                          when 'R' then 'enable replica' else 'disable' end);
    end loop;
end $$;

alter table public.ohlcv_series add column notes text[] not null default '{}';
update public.ohlcv_series set notes = string_to_array(note, '; ') where note is not null;
alter table public.ohlcv_series drop column note;
-- When the exchange was last asked whether a symbol that it lists, without a candle for long, is back; null: has candles.
alter table public.ohlcv_series rename column silence_asked_at to dormant_checked_at;
alter table public.ohlcv_series add column pending boolean not null default false; -- announced, trading has not begun
update public.ohlcv_series set pending = true where status in ('PENDING_TRADING', 'PRE_TRADING');
update public.ohlcv_series set status = 'UNLISTED' where status = 'VANISHED';

-- The exchange's clock, when it was last asked: how far it was ahead of this server's.
create table public.fetch_clock (
    exchange   text not null,
    market     text not null,
    ahead_ms   bigint not null,
    asked_at   timestamptz not null, -- by this server's clock
    primary key (exchange, market)
);
comment on table public.fetch_clock is 'How far the exchange''s clock was ahead of this server''s, so that check knows what has closed without asking';
