"""Symbols that end, fall silent, vanish or begin again, in whole runs of the program."""

from __future__ import annotations

import json

import pytest
from candles import truth_rows
from generated import generated_rows
from program import Program
from small_market import BTC, HALT, LISTED_MS, NOW_MS, SERIES

from core.instrument import Instrument
from core.ranges import Span
from core.series import Series, parse_series
from core.times import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, iso_ms, parse_time
from demo.candle_store import SymbolFacts
from demo.server import ReplayExchange

ENDED_MS = parse_time("2024-12-20T03:00")
END = "2024-12-20T03:00:00Z"
UM, CM = SERIES["um:BTCUSDT/5m"], SERIES["cm:BTCUSD_PERP/15m"]
EACH = pytest.mark.parametrize("series", [BTC, UM, CM], ids=str)


def end(exchange: ReplayExchange, series: Series, **facts: object) -> None:
    """Let the candles of `series` end on 2024-12-20, and exchangeInfo say `facts` of it."""
    exchange.store.remove(series, Span(ENDED_MS, NOW_MS + 30 * MS_PER_DAY))
    exchange.store.set_facts(series.market, series.symbol, SymbolFacts(**facts))


def vanish(exchange: ReplayExchange, series: Series) -> None:
    """Let `series` end on 2024-12-20 and be gone from the API; a hole in its archives would be another story."""
    if series is BTC:
        exchange.store.add(series, generated_rows(series, HALT, 5))
    else:  # a market is never empty
        other = parse_series(f"{series.market}:OTHER/1d")
        exchange.store.add(other, generated_rows(other, Span(LISTED_MS, NOW_MS), 6))
    end(exchange, series, listed=False)


def everything(exchange: ReplayExchange, series: Series) -> list[tuple[object, ...]]:
    return truth_rows(exchange.store.rows(series, 0, NOW_MS // 60_000 * 60_000))


def life(program: Program, series: Series) -> tuple[object, ...]:
    columns = (
        "status, (extract(epoch from listing) * 1000)::bigint, (extract(epoch from delisting) * 1000)::bigint,"
        " nullif(array_to_string(notes, '; '), '')"
    )
    [row] = program.query(f"select {columns} from public.ohlcv_series where table_name = '{series.table_name}'")
    return row


def silence_asked_ms(program: Program, series: Series) -> int | None:
    column = "(extract(epoch from dormant_checked_at) * 1000)::bigint"
    [(asked_ms,)] = program.query(f"select {column} from public.ohlcv_series where table_name = '{series.table_name}'")
    return None if asked_ms is None else int(asked_ms)


def told(program: Program, command: str) -> tuple[dict[str, object], str]:
    """Return what `status` or `check` says of the only series: the document, and the text's words in order."""
    [document] = program.run_json(command)["series"]
    return document, " ".join(program.run(command).stdout.split())


def klines(exchange: ReplayExchange) -> int:
    """Count requests to the REST route; archive paths have klines in them as well."""
    return sum(record.path.endswith("/klines") for record in exchange.requests)


@EACH
def test_a_delisted_series_is_complete_and_asked_for_no_more(
    program: Program, exchange: ReplayExchange, series: Series
) -> None:
    status = "BREAK" if series is BTC else "CLOSE"
    end(exchange, series, status=status, onboard_ms=LISTED_MS, delivery_ms=ENDED_MS + 6 * MS_PER_HOUR)
    document = program.run_json("--symbols", str(series))
    assert document["series"][0]["covered_until"] == END
    assert life(program, series) == (status, exchange.store.open_times(series)[0], ENDED_MS, None)
    assert program.stored(series.table_name) == everything(exchange, series)
    exchange.clear_requests()
    again = program.run_json("--symbols", str(series))["series"][0]
    assert (again["outcome"], again["inserted"], again["covered_until"]) == ("ok", 0, END)
    assert klines(exchange) == 0
    assert exchange.count("/bucket") == 0
    assert exchange.count("/data/") == 0


@pytest.mark.parametrize("series", [UM, CM], ids=str)
def test_a_delivery_date_that_has_passed_ends_a_series_that_is_said_to_trade(
    program: Program, exchange: ReplayExchange, series: Series
) -> None:
    end(exchange, series, onboard_ms=LISTED_MS, delivery_ms=NOW_MS - MS_PER_HOUR)
    program.run_json("--symbols", str(series))
    assert life(program, series)[2:] == (ENDED_MS, None)
    exchange.clear_requests()
    program.run_json("--symbols", str(series))
    assert klines(exchange) == 0


@EACH
def test_a_silent_series_ends_with_its_last_candle_and_says_so_once(
    program: Program, exchange: ReplayExchange, series: Series
) -> None:
    end(exchange, series, onboard_ms=LISTED_MS)
    done = program.run("--symbols", str(series))
    assert done.returncode == 0, done.stderr
    silence = "no candle since 2024-12-20T03:00Z although the exchange lists it as TRADING"
    assert f"{series}: {silence}; it counts as delisted and is asked about once a week" in done.stderr
    assert life(program, series) == ("TRADING", exchange.store.open_times(series)[0], ENDED_MS, None)
    asked_ms = silence_asked_ms(program, series)
    assert asked_ms is not None and NOW_MS <= asked_ms < NOW_MS + MS_PER_MINUTE
    assert program.stored(series.table_name) == everything(exchange, series)
    exchange.clear_requests()
    exchange.clock.advance(MS_PER_MINUTE)  # the program's clock ran on in the first run
    again = program.run("--symbols", str(series))
    assert (again.returncode, again.stderr.count("no candle since")) == (0, 0)
    assert klines(exchange) == 0
    assert silence_asked_ms(program, series) == asked_ms


def test_status_and_check_tell_a_silent_series_from_a_delisted_one(program: Program, exchange: ReplayExchange) -> None:
    exchange.store.add(BTC, generated_rows(BTC, HALT, 5))
    end(exchange, BTC)
    program.run_json("--symbols", "BTCUSDT")
    asked_ms = silence_asked_ms(program, BTC)
    assert asked_ms is not None
    for command, expected in (("status", "dormant since"), ("check", "complete, dormant")):
        document, text = told(program, command)
        assert (document["dormant_checked"], document["delisting"]) == (iso_ms(asked_ms), END)
        assert expected in text and "delisted" not in text
    exchange.store.set_facts(BTC.market, BTC.symbol, SymbolFacts(status="BREAK"))
    program.run_json("--symbols", "BTCUSDT")
    for command, expected in (("status", "delisted"), ("check", "complete, delisted")):
        document, text = told(program, command)
        assert (document["dormant_checked"], document["delisting"]) == (None, END)
        assert expected in text and "dormant" not in text


def test_a_silent_series_that_comes_back_is_fetched_again(program: Program, exchange: ReplayExchange) -> None:
    end(exchange, BTC)
    program.run_json("--symbols", "BTCUSDT")
    back = Span(NOW_MS + MS_PER_DAY, NOW_MS + 10 * MS_PER_DAY)
    exchange.store.add(BTC, generated_rows(BTC, Span(back.start_ms // 60_000 * 60_000, back.end_ms), 5))
    exchange.clock.advance(8 * MS_PER_DAY)
    # The silence itself is a gap now, which may want a second look before it is explained.
    assert program.run("--symbols", "BTCUSDT").returncode in (0, 3)
    assert (*life(program, BTC)[2:], silence_asked_ms(program, BTC)) == (None, None, None)
    closed_ms = BTC.interval.floor(exchange.clock.now_ms())
    assert program.stored("ohlcv_btcusdt") == truth_rows(exchange.store.rows(BTC, 0, closed_ms))


def test_a_series_that_falls_silent_while_it_is_run_every_day(program: Program, exchange: ReplayExchange) -> None:
    hourly = SERIES["BTCUSDT/1h"]
    last_ms = parse_time("2025-01-09T13:00")
    exchange.store.remove(hourly, Span(last_ms, last_ms + 30 * MS_PER_DAY))
    ended_after = None
    for day in range(10):
        done = program.run("--symbols", "BTCUSDT/1h", "--start", "2025-01-01")
        assert done.returncode == 0, done.stderr
        if life(program, hourly)[2] is not None and ended_after is None:
            ended_after = day
        exchange.clock.advance(MS_PER_DAY)
    assert ended_after in (7, 8)
    assert life(program, hourly)[2] == last_ms


def test_a_status_that_returns_to_trading_takes_the_end_away(program: Program, exchange: ReplayExchange) -> None:
    rows = exchange.store.rows(BTC, ENDED_MS)
    end(exchange, BTC, status="HALT")
    program.run_json("--symbols", "BTCUSDT")
    assert life(program, BTC)[2] == ENDED_MS
    exchange.store.add(BTC, rows)
    exchange.store.set_facts(BTC.market, BTC.symbol, SymbolFacts())
    program.run_json("--symbols", "BTCUSDT")
    assert life(program, BTC) == ("TRADING", exchange.store.open_times(BTC)[0], None, None)
    assert program.stored("ohlcv_btcusdt") == everything(exchange, BTC)


def test_a_lagging_series_goes_on(program: Program, exchange: ReplayExchange) -> None:
    program.run_json("--symbols", "BTCUSDT", "--end", "2024-12-10")
    program.run_json("--symbols", "BTCUSDT")
    assert life(program, BTC)[2:] == (None, None)
    assert program.stored("ohlcv_btcusdt") == everything(exchange, BTC)


@EACH
def test_a_vanished_symbol_comes_from_its_archives(program: Program, exchange: ReplayExchange, series: Series) -> None:
    vanish(exchange, series)
    dry = program.run_json("--symbols", str(series), "--dry-run")
    assert set(dry["chunks_by_source"]) <= {"archive-monthly", "archive-daily"}
    document = program.run_json("--symbols", str(series))["series"][0]
    assert (document["outcome"], document["covered_until"]) == ("ok", END)
    assert life(program, series) == ("UNLISTED", exchange.store.open_times(series)[0], ENDED_MS, None)
    assert program.stored(series.table_name) == everything(exchange, series)
    assert klines(exchange) == 0
    exchange.clear_requests()
    again = program.run_json("--symbols", str(series))["series"][0]
    assert (again["outcome"], again["inserted"]) == ("ok", 0)
    assert (klines(exchange), exchange.count("/bucket"), exchange.count("/data/")) == (0, 0, 0)


def test_a_symbol_that_vanishes_between_two_runs(program: Program, exchange: ReplayExchange) -> None:
    exchange.store.add(BTC, generated_rows(BTC, HALT, 5))
    program.run_json("--symbols", "BTCUSDT", "--end", "2024-12-15T07:31")
    end(exchange, BTC, listed=False)
    done = program.run("--symbols", "BTCUSDT")
    assert done.returncode == 0, done.stderr
    assert "the exchange no longer lists the symbol; only the archives are used" in done.stderr
    assert life(program, BTC)[:3] == ("UNLISTED", exchange.store.open_times(BTC)[0], ENDED_MS)
    assert program.stored("ohlcv_btcusdt") == everything(exchange, BTC)
    exchange.clear_requests()
    assert program.run("--symbols", "BTCUSDT", "ETHUSDT", "--start", "2025-01-09").returncode == 0
    asked = [json.loads(one.params.get("symbols", "null")) for one in exchange.requests if "Info" in one.path]
    assert sorted(asked, key=str) == [["BTCUSDT"], ["ETHUSDT"]]  # each by its name, never the list of all


def test_a_vanished_symbol_that_is_listed_again_goes_on(program: Program, exchange: ReplayExchange) -> None:
    rows = exchange.store.rows(BTC, ENDED_MS)
    vanish(exchange, BTC)
    program.run_json("--symbols", "BTCUSDT")
    exchange.store.add(BTC, rows)
    exchange.store.set_facts(BTC.market, BTC.symbol, SymbolFacts())
    program.run_json("--symbols", "BTCUSDT")
    assert life(program, BTC) == ("TRADING", exchange.store.open_times(BTC)[0], None, None)
    assert program.stored("ohlcv_btcusdt") == everything(exchange, BTC)


def test_by_rest_alone_a_vanished_symbol_is_unknown(program: Program, exchange: ReplayExchange) -> None:
    vanish(exchange, BTC)
    document = program.run_json("--symbols", "BTCUSDT", "--source", "rest", expect=3)
    assert "market spot has no symbol BTCUSDT" in document["series"][0]["error"]
    assert exchange.count("/bucket") == 0


def test_a_typing_error_costs_two_listing_requests(program: Program, exchange: ReplayExchange) -> None:
    document = program.run_json("--symbols", "BTCUSDTT", expect=3)
    assert "has no symbol BTCUSDTT (did you mean BTCUSDT?)" in document["series"][0]["error"]
    assert exchange.count("/bucket") == 2
    assert klines(exchange) == 0


def test_a_ticker_that_was_used_before_is_noted_once(program: Program, exchange: ReplayExchange) -> None:
    settled = parse_series("um:BTCUSDTSETTLED/5m")
    exchange.store.add(settled, generated_rows(settled, Span(parse_time("2024-06-01"), parse_time("2024-07-03")), 3))
    exchange.store.set_facts(settled.market, settled.symbol, SymbolFacts(listed=False))
    note = "ticker used before: the archives also hold BTCUSDTSETTLED"
    done = program.run("--symbols", str(UM))
    assert done.returncode == 0
    assert f"{UM}: {note}" in done.stderr
    assert life(program, UM)[3] == note
    exchange.clear_requests()
    again = program.run("--symbols", str(UM))
    assert (again.returncode, "ticker used before" in again.stderr) == (0, False)
    assert life(program, UM)[3] == note
    assert exchange.count("/bucket") == 0


@pytest.mark.parametrize("series", [UM, CM], ids=str)
def test_a_ticker_that_was_reused_is_not_stitched(program: Program, exchange: ReplayExchange, series: Series) -> None:
    earlier = Span(parse_time("2024-03-01"), parse_time("2024-03-20"))
    exchange.store.add(series, generated_rows(series, earlier, 7))
    note = "ticker reused: candles before 2024-11-28T14:30Z belong to an earlier listing and are not fetched"
    for run in range(2):
        done = program.run("--symbols", str(series))
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(note) == 1 - run
        assert life(program, series) == ("TRADING", LISTED_MS, None, note)
        closed_ms = series.interval.floor(NOW_MS)
        expected = truth_rows(exchange.store.rows(series, LISTED_MS, closed_ms))
        assert program.stored(series.table_name) == expected


def test_the_listing_is_not_the_first_candle_that_happens_to_be_stored(
    program: Program, exchange: ReplayExchange
) -> None:
    program.run_json("--symbols", "BTCUSDT", "--start", "2025-01-08")
    listing_ms = exchange.store.open_times(BTC)[0]
    assert life(program, BTC)[1] == listing_ms
    exchange.clear_requests()
    program.run_json("--symbols", "BTCUSDT")
    assert [r for r in exchange.requests if r.path.endswith("/klines") and r.params.get("startTime") == "0"] == []
    assert program.stored("ohlcv_btcusdt")[0][0] == listing_ms


def test_a_symbol_that_a_pattern_loses_is_completed_before_it_is_left_alone(
    program: Program, exchange: ReplayExchange
) -> None:
    other = parse_series("um:ETHUSDT/5m")
    exchange.store.add(other, generated_rows(other, Span(LISTED_MS, NOW_MS + 40 * MS_PER_DAY), 6))
    program.symbols("symbols: ['um:*USDT/5m']\n")
    exchange.clock.set(ENDED_MS - 30 * MS_PER_HOUR)
    program.run_json()
    end(exchange, UM, listed=False)  # a weekend off over the delisting
    exchange.clock.set(ENDED_MS + 60 * MS_PER_HOUR)
    program.run_json()
    assert life(program, UM)[:3] == ("UNLISTED", LISTED_MS, ENDED_MS)
    assert program.stored(UM.table_name) == everything(exchange, UM)
    exchange.clock.advance(20 * MS_PER_DAY)
    document = program.run_json()
    assert [one["symbol"] for one in document["series"]] == ["ETHUSDT"]
    assert {one["symbol"]: one["complete"] for one in program.run_json("check")["series"]} == {
        "BTCUSDT": True,
        "ETHUSDT": True,
    }


def test_what_rest_gave_beyond_the_last_archive_file_of_a_lost_symbol_is_no_damage(
    program: Program, exchange: ReplayExchange
) -> None:
    other = parse_series("um:ETHUSDT/5m")
    exchange.store.add(other, generated_rows(other, Span(LISTED_MS, NOW_MS + 40 * MS_PER_DAY), 6))
    program.symbols("symbols: ['um:*USDT/5m']\n")
    exchange.clock.set(ENDED_MS + MS_PER_MINUTE)
    program.run_json()
    end(exchange, UM, listed=False)
    exchange.clock.set(ENDED_MS + MS_PER_HOUR)  # the archives end with the day before
    program.run_json()
    assert life(program, UM)[2] == ENDED_MS
    assert program.run("check").returncode == 0


def test_an_odd_name_in_the_list_is_skipped_and_said_once(program: Program, exchange: ReplayExchange) -> None:
    for symbol in ("A-BUSDT", "lowUSDT"):
        odd = Series(Instrument(BTC.exchange, BTC.market, symbol), BTC.interval)
        exchange.store.add(odd, generated_rows(odd, Span(NOW_MS - MS_PER_HOUR, NOW_MS), 6))
    program.symbols("symbols: ['*USDT/1h']\ndefaults: {start: 2025-01-09}\nexclude: [ETH*]\n")
    first = program.run("--quiet")
    assert first.returncode == 0, first.stderr
    assert "skipped, not a symbol that this program can keep: 'spot:A-BUSDT', 'spot:lowUSDT'" in first.stderr
    again = program.run("--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_an_earlier_listing_of_a_reused_ticker_stays_provable_and_is_no_damage(
    program: Program, exchange: ReplayExchange
) -> None:

    program.symbols("symbols: ['um:BTCUSDT/5m']\n")
    exchange.store.remove(UM, HALT)  # a gap of the earlier listing that nobody can explain any more
    end(exchange, UM, status="CLOSE", onboard_ms=LISTED_MS, delivery_ms=ENDED_MS + 6 * MS_PER_HOUR)
    assert program.run().returncode in (0, 3)
    before = program.stored(UM.table_name)
    again = Span(NOW_MS // MS_PER_DAY * MS_PER_DAY + MS_PER_DAY, NOW_MS + 20 * MS_PER_DAY)
    old = list(exchange.store.rows(UM, LISTED_MS, ENDED_MS))
    exchange.store.remove(UM, Span(0, NOW_MS))  # the old contract's files now have another name
    exchange.store.add(UM, generated_rows(UM, again, 9))
    exchange.store.set_facts(UM.market, UM.symbol, SymbolFacts(onboard_ms=again.start_ms))
    exchange.clock.set(again.start_ms + 5 * MS_PER_DAY + MS_PER_HOUR)
    done = program.run()
    assert done.returncode == 0 and "(what is stored of them stays)" in done.stderr
    assert program.stored(UM.table_name)[: len(before)] == before
    [document] = program.run_json("check")["series"]
    assert (document["complete"], document["extra"], document["missing"]) == (True, 0, 0)
    assert [one["end"] for one in document["earlier_listing_in"]] == [END]
    [verified] = program.run_json("verify", "--against", "rest")["series"]
    assert (verified["outcome"], verified["extra"]) == ("equal", 0) and verified["spans_of_earlier_listing"] > 0
    settled = parse_series("um:BTCUSDTSETTLED/5m")
    exchange.store.add(settled, old)
    exchange.store.set_facts(settled.market, settled.symbol, SymbolFacts(listed=False))
    [renamed] = program.run_json("verify")["series"]  # what came from files is compared with those of the new name
    assert renamed["outcome"] == "equal"
    assert renamed["spans_of_earlier_listing"] < verified["spans_of_earlier_listing"]
    assert program.run("verify", "--repair", "--quiet").returncode == 0
    assert program.stored(UM.table_name)[: len(before)] == before
    program.run_json("check", "--heal")
    program.query(f"update public.{UM.table_name} set close = close + 1 where time = '2024-12-05 00:00Z'")
    assert program.run_json("check", expect=3)["series"][0]["altered_in"] != []
    assert program.run("verify").returncode == 3
    assert program.stored(UM.table_name)[: len(before)] != before  # nothing was put in the place of what was altered
