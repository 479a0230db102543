"""What `verify` found or put back, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from commands.screen import Column, Report, Row, Tone, count_text, time_text
from core.compare import Kind
from logic.documents import outcome_of
from logic.series_locks import left_to_another_run
from logic.verify.aggregate_check import AggregateResult
from logic.verify.undo import UndoneSeries
from logic.verify.verification import SeriesVerification
from logic.verify.verify_run import VerifySummary

_COLUMNS = (
    Column("series"),
    Column("outcome"),
    Column("candles", is_number=True),
    Column("spans", is_number=True, rank=2),
    Column("verified", is_number=True, rank=1),
    *(Column(kind.value, is_number=True, is_dull_when_zero=True) for kind in Kind),
    Column("repaired", is_number=True, is_dull_when_zero=True),
)
_TONES = {
    "equal": Tone.GOOD,
    "repaired": Tone.GOOD,
    "different": Tone.WRONG,
    "failed": Tone.WRONG,
    "locked": Tone.ATTENTION,
    "not all verified": Tone.ATTENTION,
}


def verification_report(summary: VerifySummary) -> Report:
    """Return the report of a verification against the exchange."""
    rows = [_row(result) for result in summary.results]
    needs = [f"market {market} cannot be used: {why}" for market, why in summary.unusable_markets.items()]
    candles = sum(result.rows for result in summary.results if not result.is_locked)
    repaired = sum(result.repaired for result in summary.results)
    verified = sum(not result.is_locked for result in summary.results)
    headline = f"{count_text(verified, 'series', 'series')}, {count_text(candles, 'candle')} are what the exchange has"
    notes = []
    if repaired:
        headline += f", {repaired:,} repaired"
        put_back = f"to put them back: verify --undo {summary.run_id}"
        notes.append(f"old values are kept in public.ohlcv_corrections; {put_back}")
    elif any(result.differing for result in summary.results):
        notes.append("nothing stored was changed; verify --repair writes the exchange's values and keeps the old ones")
    if locked := [result.series for result in summary.results if result.is_locked]:
        notes.append(f"{left_to_another_run(locked)}; the next verify takes them")
    return Report(headline, _COLUMNS, rows, needs, notes)


def _row(result: SeriesVerification) -> Row:
    outcome = outcome_of(result)
    counts = [result.rows, result.spans, result.verified, *(result.counts[kind] for kind in Kind), result.repaired]
    cells = [str(result.series), outcome, *(f"{count:,}" for count in counts)]
    needs = () if result.is_clean else tuple(_needs(result))
    return Row(cells, _TONES[outcome], needs, tuple(_details(result)))


def _needs(result: SeriesVerification) -> Iterator[str]:
    if result.error is not None:
        yield result.error
    if wrong := result.differing - result.repaired:
        told = count_text(wrong, "candle is", "candles are")
        yield f"{told} not what the exchange has; verify --repair writes the exchange's values"
    if result.unverifiable:
        span, why = result.unverifiable[0]
        more = len(result.unverifiable) - 1
        yield f"{span} cannot be verified: {why}" + (f" ({more:,} more spans as well)" if more else "")


def _details(result: SeriesVerification) -> Iterator[str]:
    for what, spans in (("missing", result.missing), ("extra", result.extra)):
        for span in spans:
            yield f"{what}: {span}"
    for difference in result.shown:
        yield str(difference)
    if result.counts[Kind.DIFFERENT] > len(result.shown):
        yield f"... and {result.counts[Kind.DIFFERENT] - len(result.shown):,} different candles more, see the table"
    if result.of_earlier_listing:
        told = count_text(result.of_earlier_listing, "span")
        yield f"{told} of an earlier listing under the same ticker: unaltered, and no longer at the exchange"
    for name in result.replaced_archives:
        yield f"archive {name} was published anew since it was imported"
    for span, why in result.unverifiable[1:]:
        yield f"{span} cannot be verified: {why}"


def aggregates_report(results: Sequence[AggregateResult]) -> Report:
    """Return the report of longer candles held against the stored 1m candles."""
    columns = (
        Column("series"),
        Column("outcome"),
        Column("compared", is_number=True),
        Column("different", is_number=True, is_dull_when_zero=True),
        Column("explained", is_number=True, is_dull_when_zero=True),
        Column("not judged", is_number=True, rank=1),
    )
    rows = [_aggregate_row(result) for result in results]
    compared = sum(result.compared for result in results)
    headline = f"{count_text(len(rows), 'series', 'series')}, {count_text(compared, 'candle')} are as their 1m candles"
    return Report(headline, columns, rows)


def _aggregate_row(result: AggregateResult) -> Row:
    counts = [f"{n:,}" for n in (result.compared, result.differing, result.explained, result.not_judged)]
    details = [f"{time_text(one.time_ms)}: {'; '.join(one.differing())}" for one in result.shown]
    if result.why_not is not None:
        return Row([str(result.series), "not judged", *counts], Tone.ATTENTION, (result.why_not,), details)
    if result.differing:
        told = count_text(result.differing, "candle is", "candles are")
        needs = (f"{told} not what the 1m candles make of it; verify tells which of the two is wrong",)
        return Row([str(result.series), "different", *counts], Tone.WRONG, needs, details)
    return Row([str(result.series), "as its 1m candles", *counts], Tone.GOOD, (), details)


def undo_report(undone: Sequence[UndoneSeries]) -> Report:
    """Return the report of an undo."""
    columns = (Column("series"), Column("outcome"), Column("put back", is_number=True), Column("of", is_number=True))
    rows = []
    for one in undone:
        cells = ["locked" if one.is_locked else "undone", f"{one.put_back:,}", f"{one.corrections:,}"]
        needs = ("another run is working on it; nothing was put back, undo again later",) if one.is_locked else ()
        rows.append(Row([str(one.series), *cells], Tone.ATTENTION if one.is_locked else Tone.GOOD, needs))
    return Report(f"{count_text(sum(one.put_back for one in undone), 'candle')} put back", columns, rows)
