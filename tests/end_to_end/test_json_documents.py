"""One meaning per key over all JSON documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from program import Program

from demo.server import ReplayExchange

SYMBOLS = "symbols:\n  - {symbol: BTCUSDT, start: 2024-12-10}\n  - {symbol: 'cm:BTCUSD_PERP/15m'}\n  - BTCUSDT/1h\n"


def kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list):
        kinds = sorted({kind_of(one) for one in value})
        return f"list of {' or '.join(kinds)}" if kinds else "list"
    return {str: "text", dict: "mapping"}[type(value)]


# Their keys are names of markets and sources, not of ours.
BY_NAME = {"unusable_markets", "rows_by_source", "chunks_by_source"}


def keys_of(value: object) -> Iterator[tuple[str, str]]:
    """Yield every key with the type of what stands under it; null fits every type."""
    if isinstance(value, list):
        for one in value:
            yield from keys_of(one)
    elif isinstance(value, dict):
        for key, below in value.items():
            if below is not None:
                yield key, kind_of(below)
            if key not in BY_NAME:
                yield from keys_of(below)


def documents(program: Program) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a document of every command, of good days and of bad ones."""
    program.symbols(SYMBOLS)
    yield "dry run", program.run_json("--dry-run")
    yield "backfill", program.run_json()
    yield "check", program.run_json("check")
    yield "verify", program.run_json("verify")
    yield "status", program.run_json("status")
    # The hours of this market are not made of its minutes.
    yield "against 1m", program.run_json("verify", "--against", "1m", expect=3)
    yield "failed", program.run_json("--symbols", "BTCUSDTT", expect=3)
    yield "error", program.run_json("check", "--symbols", "BTCUSDT/7m", expect=2)
    program.query("delete from public.ohlcv_btcusdt where time >= '2024-12-20' and time < '2024-12-21'")
    program.query("update public.ohlcv_btcusdt_1h set close = close + 1 where time = '2024-12-22 00:00+00'")
    program.query(
        "insert into public.ohlcv_cm_btcusd_perp_15m select time + interval '5 years', open, high, low, close, volume,"
        " quote_volume, trades, taker_buy_volume, taker_buy_quote_volume from public.ohlcv_cm_btcusd_perp_15m"
        " where time = '2024-12-20 00:00+00'"
    )
    yield "bad check", program.run_json("check", expect=3)
    yield "bad verify", program.run_json("verify", expect=3)
    yield "heal", program.run_json("check", "--heal", "--symbols", "BTCUSDT", expect=0)
    repaired = program.run_json("verify", "--repair", "--symbols", "BTCUSDT/1h")
    yield "repair", repaired
    yield "undo", program.run_json("verify", "--undo", repaired["run_id"])


def test_a_key_has_one_type_in_all_documents(program: Program, exchange: ReplayExchange) -> None:
    seen: dict[str, dict[str, str]] = {}
    for name, document in documents(program):
        for key, kind in keys_of(document):
            if kind == "list":  # an empty one fits every list
                kind = next((one for one in seen.get(key, {}) if one.startswith("list")), kind)
            kinds = seen.setdefault(key, {})
            if kind.startswith("list of"):
                kinds.pop("list", None)
            kinds.setdefault(kind, name)
    assert {key: kinds for key, kinds in seen.items() if len(kinds) > 1} == {}
    spans = {key for key in seen if key.endswith("_in")}
    assert spans == {
        "missing_in",
        "never_fetched_in",
        "extra_in",
        "altered_in",
        "not_compared_in",
        "unexplained_in",
        "too_young_in",
        "earlier_listing_in",
    }
    for key in ("missing", "extra", "unexplained", "healed", "not_at_exchange", "chunks", "spans"):
        assert list(seen[key]) == ["number"], key
    for key in (*spans, "gaps", "heal_runs", "series"):
        assert set(seen[key]) <= {"list of mapping", "list"}, key
    assert not {"lost", "next_look", "note", "silence_asked", "last_foreign_change", "chunks_never_verified"} & set(
        seen
    )
