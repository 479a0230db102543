"""`verify`: stored candles against the exchange, digit for digit; --repair writes its values, --undo goes back."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from commands.backfill import exchange_addresses, log_level
from commands.clock import local_now_ms
from commands.database import database_exists, open_database, shared_budget
from commands.interrupt import sleep
from commands.output import print_json, span_document, time_text
from commands.run_log import set_up_logging
from commands.stored import choose_series
from commands.tables import print_table
from commands.wanted import TimeRange, read_time_range
from config.settings import Settings
from core.compare import Difference, Kind
from core.errors import ConfigurationError
from core.exit_codes import EXIT_LOCKED, EXIT_OK
from core.subset import parse_part, parse_percent
from core.times import format_ms
from db.catalog import CatalogRow, load_catalog
from db.connection import Database
from db.corrections import load_corrected, undo_corrections
from db.locks import try_lock_series, unlock_series
from db.migrate import migrate
from fetcher.binance.exchange import Exchange
from logic.verify.aggregate_check import AggregateResult, aggregate_exit_code, check_aggregates
from logic.verify.verifier import Against, SeriesVerification
from logic.verify.verify_run import VerifyOptions, VerifySummary, run_verify

_SPANS_SHOWN = 20
_COLUMNS = ["series", "chunks", "verified", "candles", "missing", "extra", "different", "repaired", "outcome"]


def run_verify_command(arguments: argparse.Namespace, settings: Settings, run_id: str) -> int:
    """Verify, repair or undo as `arguments` say, print the report, return the exit code."""
    times = read_time_range(arguments)
    part = None if arguments.subset is None else parse_part(arguments.subset)
    share = None if arguments.percent is None else parse_percent(arguments.percent)
    if arguments.against == "1m" and (arguments.repair or part is not None or share is not None):
        raise ConfigurationError(
            "--against 1m compares stored candles with each other; it takes neither --repair (that needs the "
            "exchange's word) nor --subset or --percent"
        )
    if arguments.undo is not None and (part is not None or share is not None or times != TimeRange(None, None)):
        raise ConfigurationError("--undo takes back all of a repair: leave --subset, --percent, --start and --end out")
    set_up_logging(run_id, log_level(arguments, settings), settings.secrets, settings.log_dir, None)
    if not database_exists(settings) and arguments.undo is None:
        _print_summary(arguments, VerifySummary(run_id, []))
        return EXIT_OK
    database = open_database(settings)
    try:
        migrate(database)
        if arguments.undo is not None:
            return _undo(arguments, database, run_id)
        with database.transaction("read the catalog") as tx:
            rows = choose_series(tx, arguments.symbols, settings.default_interval)
        if arguments.against == "1m":
            return _print_aggregates(arguments, check_aggregates(database, rows, times.start_ms, times.end_ms))
        exchange = Exchange(exchange_addresses(settings), sleep, local_now_ms)
        exchange.archives.remove_leftovers()
        options = VerifyOptions(
            run_id, Against(arguments.against), arguments.repair, part, share, times.start_ms, times.end_ms
        )
        with shared_budget(settings, exchange):
            summary = run_verify(database, exchange, rows, options, local_now_ms)
    finally:
        database.close()
    _print_summary(arguments, summary)
    return summary.exit_code


def _print_summary(arguments: argparse.Namespace, summary: VerifySummary) -> None:
    if arguments.json:
        print_json(
            {
                "run_id": summary.run_id,
                "exit_code": summary.exit_code,
                "unusable_markets": summary.unusable_markets,
                "series": [_document(result) for result in summary.results],
            }
        )
        return
    shown = [result for result in summary.results if not (arguments.quiet and result.is_clean)]
    rows = []
    for result in shown:
        counts = [result.chunks, result.verified, result.rows, *(result.counts[kind] for kind in Kind), result.repaired]
        rows.append([str(result.series), *(f"{count:,}" for count in counts), _outcome(result)])
    if rows:
        print_table("", _COLUMNS, rows, numbers=_COLUMNS[1:8])
    for result in shown:
        for line in _lines(result):
            print(f"{result.series}: {line}")
    for market, why in summary.unusable_markets.items():
        print(f"market {market} cannot be used: {why}")
    if any(result.repaired for result in summary.results):
        print(f"old values are kept in public.ohlcv_corrections; to put them back: verify --undo {summary.run_id}")
    elif any(result.differing for result in summary.results):
        print("nothing stored was changed; verify --repair writes the exchange's values and keeps the old ones")
    if not summary.results and not arguments.quiet:
        print("nothing stored to verify")


def _lines(result: SeriesVerification) -> Iterator[str]:
    for what, spans in (("missing", result.missing), ("extra", result.extra)):
        for span in spans[:_SPANS_SHOWN]:
            yield f"{what}: {span}"
        if len(spans) > _SPANS_SHOWN:
            yield f"... and {len(spans) - _SPANS_SHOWN:,} more stretches, see --json"
    for difference in result.shown:
        yield str(difference)
    if result.counts[Kind.DIFFERENT] > len(result.shown):
        yield f"... and {result.counts[Kind.DIFFERENT] - len(result.shown):,} more"
    for name in result.replaced_archives:
        yield f"archive {name} was published anew since it was imported"
    for span, why in result.unverifiable:
        yield f"{span} cannot be verified: {why}"
    if result.error is not None:
        yield result.error


def _outcome(result: SeriesVerification) -> str:
    if result.is_locked:
        return "locked"
    if result.error is not None:
        return "failed"
    if result.is_clean:
        return "repaired" if result.repaired else "equal"
    return "DIFFERS" if result.differing > result.repaired else "not all verified"


def _document(result: SeriesVerification) -> dict[str, object]:
    series = result.series
    return {
        "market": series.market.value,
        "symbol": series.symbol,
        "interval": series.interval.code,
        "outcome": _outcome(result),
        "chunks": result.chunks,
        "verified": result.verified,
        "candles": result.rows,
        **{kind.value: result.counts[kind] for kind in Kind},
        "repaired": result.repaired,
        "missing_in": [span_document(span) for span in result.missing],
        "extra_in": [span_document(span) for span in result.extra],
        "differences": [_difference_document(difference) for difference in result.shown],
        "replaced_archives": result.replaced_archives,
        "unverifiable": [{**span_document(span), "why": why} for span, why in result.unverifiable],
        "error": result.error,
    }


def _difference_document(difference: Difference) -> dict[str, object]:
    return {
        "time": time_text(difference.time_ms),
        "kind": difference.kind.value,
        "stored": difference.stored,
        "exchange": difference.right,
    }


def _print_aggregates(arguments: argparse.Namespace, results: list[AggregateResult]) -> int:
    exit_code = aggregate_exit_code(results)
    if arguments.json:
        print_json({"exit_code": exit_code, "series": [_aggregate_document(result) for result in results]})
        return exit_code
    columns = ["series", "compared", "differing", "explained", "not judged", "outcome"]
    rows = []
    for result in results:
        counts = [result.compared, result.differing, result.explained, result.not_judged]
        outcome = result.why_not or ("DIFFERS" if result.differing else "as its 1m candles")
        if not (arguments.quiet and outcome == "as its 1m candles"):
            rows.append([str(result.series), *(f"{count:,}" for count in counts), outcome])
    if rows:
        print_table("", columns, rows, numbers=columns[1:5])
    elif not results and not arguments.quiet:
        print("no series longer than 1m is stored")
    for result in results:
        for difference in result.shown:
            print(f"{result.series}: {format_ms(difference.time_ms)}: {'; '.join(difference.differing())}")
    return exit_code


def _aggregate_document(result: AggregateResult) -> dict[str, object]:
    return {
        "series": str(result.series),
        "compared": result.compared,
        "differing": result.differing,
        "explained_by_lost_records": result.explained,
        "not_judged": result.not_judged,
        "why_not": result.why_not,
        "differences": [
            {"time": time_text(one.time_ms), "stored": one.stored, "made_of_1m": one.made} for one in result.shown
        ],
    }


@dataclass(frozen=True, slots=True)
class _Undone:
    """What an undo did to one series."""

    row: CatalogRow
    candles: int
    corrections: int
    is_locked: bool


def _undo(arguments: argparse.Namespace, database: Database, run_id: str) -> int:
    with database.transaction("read the corrections") as tx:
        corrected = load_corrected(tx, arguments.undo)
        rows = {row.id: row for row in load_catalog(tx)}
    if not corrected:
        raise ConfigurationError(f"--undo: run {arguments.undo[:40]!r} changed no candle; see public.ohlcv_corrections")
    undone = []
    for series_id, count in corrected:
        row = rows[series_id]
        with database.transaction(f"undo the repair of {row.series}") as tx:
            if not try_lock_series(tx, [series_id]):
                undone.append(_Undone(row, 0, count, is_locked=True))
                continue
            table = row.series.table_name
            candles = undo_corrections(tx, series_id, table, arguments.undo, run_id, local_now_ms())
            unlock_series(tx, series_id)
        undone.append(_Undone(row, candles, count, is_locked=False))
    exit_code = EXIT_LOCKED if any(one.is_locked for one in undone) else EXIT_OK
    if arguments.json:
        series = [
            {
                "series": str(one.row.series),
                "put_back": one.candles,
                "corrections": one.corrections,
                "locked": one.is_locked,
            }
            for one in undone
        ]
        print_json({"run_id": run_id, "undone": arguments.undo, "exit_code": exit_code, "series": series})
        return exit_code
    for one in undone:
        told = "locked by another run" if one.is_locked else f"{one.candles:,} of {one.corrections:,} candles put back"
        print(f"{one.row.series}: {told}")
    return exit_code
