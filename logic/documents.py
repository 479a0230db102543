"""The JSON documents of all commands: pure functions from result to dict.

A key has the same meaning and type in every document. A count is a number under a plain word (`missing`), the places
are a list of spans under `<word>_in`, and `gaps` is a list of gap documents.
Times are ISO 8601 with Z; the end of a span is exclusive; null means not known or not applicable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from core.compare import Kind
from core.plan import NOTHING, Estimate
from core.ranges import Span
from core.series import Series
from core.times import iso_ms

if TYPE_CHECKING:  # `status` says what is stored without loading what a run needs
    from core.compare import Difference
    from core.gaps import Gap
    from db.aggregates import AggregateDifference
    from logic.backfill.results import RunSummary, SeriesResult
    from logic.gaps.series_check import SeriesCheck
    from logic.live.results import LiveSummary
    from logic.monitored import Monitored, MonitoredSession, MonitoredStream
    from logic.planning.dry_run import PlannedSeries
    from logic.stored import StoredSeries
    from logic.verify.aggregate_check import AggregateResult
    from logic.verify.undo import UndoneSeries
    from logic.verify.verification import SeriesVerification
    from logic.verify.verify_run import VerifySummary

Document = dict[str, object]

BYTES_PER_CANDLE = 130
"""Size of a stored candle with its index, measured on plain PostgreSQL."""


def time_text(ms: int | None) -> str | None:
    """Return ISO 8601 with seconds and Z, or None."""
    return None if ms is None else iso_ms(ms)


def span_document(span: Span) -> Document:
    """Return a span; the end is exclusive."""
    return {"start": time_text(span.start_ms), "end": time_text(span.end_ms)}


def _spans(spans: Iterable[Span]) -> list[Document]:
    return [span_document(span) for span in spans]


def _identity(series: Series) -> Document:
    return {"market": series.market.value, "symbol": series.symbol, "interval": series.interval.code}


def stored_document(stored: Sequence[StoredSeries], streams: Monitored) -> Document:
    """Return what is stored of each series, and which processes stream, for `status`."""
    return {"series": [_stored_series(one) for one in stored], "sessions": [_session(one) for one in streams.sessions]}


def _stored_series(one: StoredSeries) -> Document:
    row, lag_ms, age = one.row, one.lag_ms, one.verification
    return {
        **_identity(row.series),
        "table": row.series.table_name,
        "active": row.active,
        "status": row.listing.status,
        "listing": time_text(row.listing.first_ms),
        "delisting": time_text(row.listing.end_ms),
        "dormant_checked": time_text(row.listing.dormant_checked_ms),
        "rows": one.rows,
        "first_candle": time_text(one.first_ms),
        "last_candle": time_text(one.last_ms),
        "stale": one.is_stale,
        "lag_seconds": None if lag_ms is None else lag_ms // 1000,
        "covered_from": time_text(one.covered[0].start_ms) if one.covered else None,
        "covered_until": time_text(one.covered[-1].end_ms) if one.covered else None,
        "holes_in_coverage": max(0, len(one.covered) - 1),
        "spans": 0 if age is None else age.entries,
        "spans_never_verified": 0 if age is None else age.never_verified,
        "provisional": one.provisional.candles,
        "provisional_since": time_text(one.provisional.since_ms),
        "witnessed": one.witness.witnessed,
        "contradicted": one.witness.contradicted,
        "oldest_unverified_since": None if age is None else time_text(age.oldest_ms),
        "notes": list(row.listing.notes),
    }


def summary_document(summary: RunSummary) -> Document:
    """Return what a backfill did."""
    return {
        "run_id": summary.run_id,
        "exit_code": summary.exit_code,
        "seconds": round(summary.seconds, 3),
        "request_weight_used": summary.weight_used,
        "unusable_markets": summary.unusable_markets,
        "unusable_rows": [*summary.unusable_rows],
        "series": [_fetched_series(result) for result in summary.results],
    }


def _fetched_series(result: SeriesResult) -> Document:
    return {
        **_identity(result.series),
        "table": result.series.table_name,
        "outcome": result.outcome,
        "inserted": result.saved.inserted,
        "already_there": result.saved.equal,
        "conflicts": result.saved.conflicts,
        "rows_by_source": result.rows_by_source,
        "chunks": result.chunks,
        "covered_until": time_text(result.covered_until_ms),
        "unexplained_in": _spans(result.open_gaps),
        "healed": result.healed,
        "not_at_exchange": result.not_at_exchange,
        "unexplained": result.unexplained,
        "too_young": result.series.interval.count_in(result.too_young),
        "too_young_in": _spans(result.too_young),
        "contradicted": result.contradicted,
        "error": result.error,
    }


def plan_document(planned: Sequence[PlannedSeries], seconds: float) -> Document:
    """Return the plan of a dry run; `seconds` is a rough estimate of the backfill's duration."""
    total = sum((one.estimate for one in planned if one.estimate is not None), NOTHING)
    return {
        "dry_run": True,
        "series": [_planned_series(one) for one in planned],
        **_cost(total),
        "stored_bytes": total.rows * BYTES_PER_CANDLE,
        "seconds": round(seconds, 1),
    }


def _planned_series(one: PlannedSeries) -> Document:
    span = one.plan.span if one.plan is not None else None
    return {
        **_identity(one.series),
        "start": time_text(span.start_ms) if span is not None else None,
        "end": time_text(span.end_ms) if span is not None else None,
        **_cost(one.estimate or NOTHING),
        "error": one.error,
    }


def _cost(cost: Estimate) -> Document:
    return {
        "chunks": sum(cost.chunks.values()),
        "chunks_by_source": dict(cost.chunks),
        "requests": cost.requests,
        "request_weight": cost.weight,
        "expected_rows": cost.rows,
        "download_bytes": cost.bytes,
    }


def check_document(checks: Sequence[SeriesCheck]) -> Document:
    """Return what the checks found."""
    return {
        "complete": all(check.is_complete for check in checks),
        "series": [_checked_series(check) for check in checks],
    }


def _checked_series(check: SeriesCheck) -> Document:
    row = check.row
    return {
        **_identity(row.series),
        "complete": check.is_complete,
        "ranges": _spans(check.spans),
        "expected": check.expected,
        "stored": check.stored,
        "missing": check.missing,
        "not_at_exchange": check.not_at_exchange,
        "too_young": check.row.series.interval.count_in(check.too_young),
        "off_grid": check.off_grid,
        "extra": check.extra_rows,
        "doubled": check.doubled,
        "stale": check.is_stale,
        "covered_until": time_text(check.covered_until_ms),
        "last_fetched": time_text(check.last_fetched_ms),
        "hashed": check.with_hash,
        "checksum_verified": check.by_checksum,
        "provisional": check.provisional.candles,
        "provisional_since": time_text(check.provisional.since_ms),
        "witnessed": check.witnessed,
        "contradicted": check.contradicted,
        "last_checked": time_text(row.checked_at_ms),
        "status": row.listing.status,
        "delisting": time_text(row.listing.end_ms),
        "dormant_checked": time_text(row.listing.dormant_checked_ms),
        "notes": list(row.listing.notes),
        "unexplained_in": _spans(check.unexplained),
        "too_young_in": _spans(check.too_young),
        "earlier_listing_in": _spans(check.earlier_listing),
        "never_fetched_in": _spans(check.never_fetched),
        "extra_in": _spans(check.extra),
        "altered_in": _spans(check.altered),
        "not_compared_in": _spans(check.not_compared),
        "faults": list(check.faults),
        "not_checked": check.not_checked,
        "last_external_change": check.external_change,
        "dropped_before": time_text(check.dropped_before_ms),
        "gaps": [gap_document(gap) for gap in check.gaps],
    }


def gap_document(gap: Gap) -> Document:
    """Return a gap with its evidence."""
    return {
        **span_document(gap.span),
        "status": gap.status.value,
        "reason": None if gap.reason is None else gap.reason.value,
        "reason_note": gap.reason_note,
        "found": time_text(gap.found_ms),
        "was_committed": gap.was_committed,
        "since": time_text(gap.since_ms),
        "next_recheck": time_text(gap.next_recheck_ms),
        "evidence": [answer.document() for answer in gap.answers],
    }


def verification_document(summary: VerifySummary) -> Document:
    """Return what a verification against the exchange found."""
    return {
        "run_id": summary.run_id,
        "exit_code": summary.exit_code,
        "unusable_markets": summary.unusable_markets,
        "series": [_verified_series(result) for result in summary.results],
    }


def outcome_of(result: SeriesVerification) -> str:
    """Return the outcome of a verified series in a word or two."""
    if result.is_locked:
        return "locked"
    if result.error is not None:
        return "failed"
    if result.is_clean:
        return "repaired" if result.repaired else "equal"
    return "different" if result.differing > result.repaired else "not all verified"


def _verified_series(result: SeriesVerification) -> Document:
    return {
        **_identity(result.series),
        "outcome": outcome_of(result),
        "spans": result.spans,
        "verified": result.verified,
        "candles": result.rows,
        **{kind.value: result.counts[kind] for kind in Kind},
        "repaired": result.repaired,
        "missing_in": _spans(result.missing),
        "extra_in": _spans(result.extra),
        "differences": [_difference(difference) for difference in result.shown],
        "replaced_archives": list(result.replaced_archives),
        "spans_of_earlier_listing": result.of_earlier_listing,
        "unverifiable": [{**span_document(span), "why": why} for span, why in result.unverifiable],
        "error": result.error,
    }


def _difference(difference: Difference) -> Document:
    return {
        "time": time_text(difference.time_ms),
        "kind": difference.kind.value,
        "stored_values": _texts(difference.stored),
        "exchange_values": _texts(difference.reference),
    }


def aggregates_document(results: Sequence[AggregateResult], exit_code: int) -> Document:
    """Return how stored longer candles compare with the stored 1m candles."""
    return {"exit_code": exit_code, "series": [_aggregated_series(result) for result in results]}


def _aggregated_series(result: AggregateResult) -> Document:
    return {
        **_identity(result.series),
        "compared": result.compared,
        "different": result.differing,
        "explained_by_lost_records": result.explained,
        "not_judged": result.not_judged,
        "why_not": result.why_not,
        "differences": [_aggregate_difference(one) for one in result.shown],
    }


def _aggregate_difference(one: AggregateDifference) -> Document:
    return {
        "time": time_text(one.time_ms),
        "stored_values": _texts(one.stored),
        "values_made_of_1m": _texts(one.made),
    }


def undo_document(run_id: str, undone_run: str, undone: Sequence[UndoneSeries], exit_code: int) -> Document:
    """Return what an undo put back."""
    return {
        "run_id": run_id,
        "undone_run": undone_run,
        "exit_code": exit_code,
        "series": [
            {
                **_identity(one.series),
                "put_back": one.put_back,
                "corrections": one.corrections,
                "locked": one.is_locked,
            }
            for one in undone
        ],
    }


def _texts(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def live_document(summary: LiveSummary) -> Document:
    """Return what a live run has done so far, or did, for `stream`."""
    from logic.live.record_results import records_document
    from logic.live.statistics import statistics_document

    done = summary.counters
    return {
        "run_id": summary.run_id,
        "exit_code": summary.exit_code,
        "seconds": round(summary.seconds, 3),
        "streamed": summary.streamed,
        "live": summary.live,
        "frames": done.frames,
        "finals": done.finals,
        "stored": done.stored,
        "already_there": done.already_there,
        "conflicts": done.conflicts,
        "unsaved": summary.unsaved,
        "dropped": done.dropped,
        "unusable_frames": dict(done.unusable),
        "connections": done.connections,
        "reconnects": dict(done.reconnects),
        "heals": done.heals,
        "healed": done.healed,
        "unhealed": summary.unhealed,
        "audited": done.audited,
        "corrected": done.corrected,
        "left_out": [_identity(series) | {"why": why} for series, why in summary.left_out.items()],
        "silent": [_identity(series) | {"why": why} for series, why in summary.silent.items()],
        "unusable_markets": summary.unusable_markets,
        "records": records_document(summary.records),
        "statistics": statistics_document(summary.statistics),
        "backfill": None if summary.backfill is None else summary_document(summary.backfill),
    }


def monitored_document(found: Monitored) -> Document:
    """Return what the live streams are doing, for `monitor`."""
    sessions = [
        _session(one) | {"statistics": dict(one.row.statistics), "streams": [_stream(stream) for stream in one.streams]}
        for one in found.sessions
    ]
    return {"is_well": found.is_well, "sessions": sessions}


def _session(one: MonitoredSession) -> Document:
    return {
        "run_id": one.row.id,
        "host": one.row.host,
        "pid": one.row.pid,
        "is_alive": one.row.is_alive,
        "started": time_text(one.row.started_ms),
        "heartbeat": time_text(one.row.heartbeat_ms),
        "ended": time_text(one.row.ended_ms),
    }


def _stream(one: MonitoredStream) -> Document:
    row = one.row
    return {
        "market": row.key.market.value,
        "symbol": row.key.instrument.symbol,
        "kind": row.key.kind.value,
        "interval": None if row.key.interval is None else row.key.interval.code,
        "state": row.state.value,
        "trouble": one.trouble,
        "lag_ms": one.lag_ms,
        "last_event": time_text(row.last_event_ms),
        "last_closed": time_text(row.last_closed_ms),
        "last_price": row.last_price,
        "messages": row.messages,
        "messages_per_second": round(row.per_second, 1),
        "latency_p95_ms": None if row.latency_p95_ms is None else round(row.latency_p95_ms, 1),
        "cuts": row.reconnects,
        "heals": row.heals,
        "errors": row.errors,
        "silent_since": time_text(row.silent_since_ms),
    }
