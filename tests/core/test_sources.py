"""Kinds of sources are asked for a property, never for not being another kind."""

from __future__ import annotations

import ast

import pytest
from house import offenders, parsed, sources_of, text_of

from core.archives import Cadence, day_of, month_of, period_of
from core.gaps import Answer
from core.ranges import Span
from core.sources import AllowedSources, Source
from core.times import parse_time
from core.witness import can_witness

NOON = parse_time("2024-02-07T12:00")

# Verify asks for monthly files only where a span came from one: daily files stand above them. It names that very kind.
NAMES_A_KIND_OF_ARCHIVE = {"logic/fetching/reference.py": ["source is Source.ARCHIVE_MONTHLY"]}


@pytest.mark.parametrize(
    ("source", "is_archive", "is_asked_by_range", "gives_answers", "voice"),
    [
        (Source.ARCHIVE_MONTHLY, True, False, True, Source.ARCHIVE_MONTHLY),
        (Source.ARCHIVE_DAILY, True, False, True, Source.ARCHIVE_DAILY),
        (Source.REST, False, True, True, Source.REST),
        (Source.STREAM, False, False, False, Source.REST),
    ],
)
def test_every_source_has_its_properties(
    source: Source, is_archive: bool, is_asked_by_range: bool, gives_answers: bool, voice: Source
) -> None:
    assert (source.is_archive, source.is_asked_by_range) == (is_archive, is_asked_by_range)
    assert (source.gives_answers, source.voice) == (gives_answers, voice)
    assert source.is_audited == (source is Source.STREAM)


def test_the_silence_of_a_stream_is_never_evidence() -> None:
    with pytest.raises(ValueError, match="the silence of source stream is no evidence"):
        Answer(Source.STREAM, Span(NOON, NOON + 1), NOON, NOON)


def test_a_stream_is_witnessed_as_rest_is() -> None:
    for allowed in AllowedSources:
        for witness in Source:
            assert can_witness(witness, Source.STREAM, allowed) == can_witness(witness, Source.REST, allowed)


def test_the_table_above_names_every_source() -> None:
    assert set(Source) == {Source.ARCHIVE_MONTHLY, Source.ARCHIVE_DAILY, Source.REST, Source.STREAM}


def test_the_words_of_the_ledger_do_not_change() -> None:
    assert {source.value for source in Source} == {"archive-monthly", "archive-daily", "rest", "stream"}


@pytest.mark.parametrize(
    ("allowed", "archives", "rest"),
    [
        (AllowedSources.AUTO, True, True),
        (AllowedSources.ARCHIVE, True, False),
        (AllowedSources.REST, False, True),
    ],
)
def test_what_a_run_may_ask(allowed: AllowedSources, archives: bool, rest: bool) -> None:
    assert (allowed.archives, allowed.rest) == (archives, rest)


def test_every_choice_allows_something() -> None:
    assert len(AllowedSources) == 3
    assert all(allowed.archives or allowed.rest for allowed in AllowedSources)


@pytest.mark.parametrize("source", Source)
def test_a_source_has_a_file_exactly_when_it_is_an_archive(source: Source) -> None:
    period = period_of(source, NOON)
    assert (period is not None) == source.is_archive
    assert period is None or period.source is source


@pytest.mark.parametrize("cadence", Cadence)
def test_a_file_of_every_cadence_has_a_source_that_is_an_archive(cadence: Cadence) -> None:
    [period] = [one for one in (day_of(NOON), month_of(NOON)) if one.cadence is cadence]
    assert period.source.is_archive
    assert period_of(period.source, NOON) == period


def comparisons(source: str) -> list[str]:
    """Return comparisons that read "not this kind" as another kind, or tell archives apart where a property would do.

    `x is Source.REST` alone is fine: it names what is asked for. A `match` over all kinds is no comparison.
    """
    wrong = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Compare):
            if kinds_in(node.operand):
                wrong.append(ast.unparse(node))
        elif isinstance(node, ast.Compare) and (kinds := kinds_in(node)):
            is_negative = any(isinstance(op, ast.IsNot | ast.NotEq | ast.NotIn) for op in node.ops)
            if is_negative or any(kind != "REST" for kind in kinds):
                wrong.append(ast.unparse(node))
    return wrong


def kinds_in(compare: ast.Compare) -> list[str]:
    return [
        node.attr
        for node in ast.walk(compare)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Source"
    ]


def test_no_place_reads_not_this_kind_as_another() -> None:
    places = set(sources_of("core", "fetcher", "db", "logic", "commands")) - {"core/sources.py"}
    assert offenders(places, lambda place: comparisons(text_of(place))) == NAMES_A_KIND_OF_ARCHIVE


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("x = a.source is not Source.REST", "a.source is not Source.REST"),
        ("x = a.source != Source.REST", "a.source != Source.REST"),
        ("x = not source is Source.REST", "not source is Source.REST"),
        ("x = source not in (Source.REST,)", "source not in (Source.REST,)"),
        ("if source is Source.ARCHIVE_DAILY: pass", "source is Source.ARCHIVE_DAILY"),
        ("if source == Source.ARCHIVE_MONTHLY: pass", "source == Source.ARCHIVE_MONTHLY"),
        ("x = source in {Source.ARCHIVE_MONTHLY, Source.ARCHIVE_DAILY}", "source in {Source.ARCHIVE_MONTHLY, Source"),
    ],
)
def test_a_wrong_comparison_is_seen(source: str, wrong: str) -> None:
    assert any(found.startswith(wrong) for found in comparisons(source))


def test_a_right_one_passes() -> None:
    assert comparisons("x = source is Source.REST\nmatch source:\n    case Source.ARCHIVE_DAILY: pass") == []
