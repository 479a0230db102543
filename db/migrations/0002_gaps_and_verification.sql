-- What is missing and why, what was verified when, and every candle that was ever corrected.

create table public.ohlcv_gaps (
    id           bigint generated always as identity primary key,
    series_id    integer not null references public.ohlcv_series (id),
    gap_start    timestamptz not null,           -- inclusive, open time of the first slot without a candle
    gap_end      timestamptz not null check (gap_end > gap_start), -- exclusive
    status       text not null check (status in ('missing', 'absent', 'healed')),
    status_since timestamptz not null,
    found_at     timestamptz not null,
    lost         boolean not null,               -- had been committed and is gone; else the source lacked it when fetched
    reason       text,                           -- of an absent gap: halt, record-lost, relisted or unknown
    reason_note  text,                           -- what the reason rests on
    looks        integer not null default 0,     -- times an absent gap was looked at again
    next_look    timestamptz,                    -- null: healed, or with the next verify
    evidence     jsonb not null default '[]',    -- answers without a candle: source, span, when first and last, checksum
    history      jsonb not null default '[]'     -- what happened to it, in order
);
comment on table public.ohlcv_gaps is 'One row per gap: missing, then healed or absent at the exchange; see docs/gaps.md';
create index ohlcv_gaps_by_series on public.ohlcv_gaps (series_id, gap_start);

create table public.ohlcv_corrections (
    id           bigint generated always as identity primary key,
    series_id    integer not null references public.ohlcv_series (id),
    time         timestamptz not null,           -- open time of the candle
    old_row      jsonb,                          -- null: there was none
    new_row      jsonb,                          -- null: the exchange has none
    source       text not null,                  -- whose value the new one is, or undo
    corrected_at timestamptz not null,
    run_id       text not null
);
comment on table public.ohlcv_corrections is 'Every candle that verify --repair changed, with its old and new values';
create index ohlcv_corrections_by_run on public.ohlcv_corrections (run_id);

-- Candles are never updated or deleted by a run, but by --repair. Anything else is a hand in the works:
-- noted here, so that check knows which series' values it has to hold against the ledger's hashes.
create table public.ohlcv_foreign_changes (
    id          bigint generated always as identity primary key,
    table_name  text not null,
    operation   text not null,
    changed_at  timestamptz not null default clock_timestamp(),
    changed_in  xid8 not null default pg_current_xact_id(), -- its transaction, which may commit much later
    changed_by  text not null,
    application text
);
comment on table public.ohlcv_foreign_changes is 'Updates and deletes of stored candles that were not this program''s';
create index ohlcv_foreign_changes_by_table on public.ohlcv_foreign_changes (table_name, changed_at);

-- As its owner, so that whoever changes a candle needs no right on the table of notes.
create function public.ohlcv_note_foreign_change() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('ohlcv.own_change', true) is distinct from 'on' then
        insert into public.ohlcv_foreign_changes (table_name, operation, changed_by, application)
        values (tg_table_name, lower(tg_op), session_user, current_setting('application_name', true));
    end if;
    return null;
end $$;

do $$
declare candles record;
begin
    for candles in
        select table_name from public.ohlcv_series where to_regclass('public.' || quote_ident(table_name)) is not null
    loop
        execute format('create trigger ohlcv_note_foreign_change after update or delete or truncate on public.%I
                        for each statement execute function public.ohlcv_note_foreign_change()', candles.table_name);
    end loop;
end $$;

alter table public.ohlcv_ledger alter column content_hash drop not null; -- null: not known, verify fetches it
alter table public.ohlcv_ledger add column verified_at timestamptz;      -- when last held against the exchange
alter table public.ohlcv_ledger add column verified_against text;        -- archive or rest
alter table public.ohlcv_ledger add column tried_at timestamptz;         -- when verify last looked at it in vain
alter table public.ohlcv_ledger add column proven_at timestamptz;        -- when the stored rows last had content_hash
alter table public.ohlcv_ledger add column proven_before xid8;           -- transactions from this on were not seen then
-- From here on a new span is proven by its own commit; by the server's clock, as the changes noted above are.
alter table public.ohlcv_ledger alter column proven_at set default clock_timestamp();

alter table public.ohlcv_series add column checked_at timestamptz; -- when all of it was last looked through for gaps
alter table public.ohlcv_series add column note text;              -- such as a ticker that was used before
-- When the exchange was last asked whether a silent symbol has come back; null: it is not silent.
alter table public.ohlcv_series add column silence_asked_at timestamptz;
