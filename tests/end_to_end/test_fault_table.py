"""The table of faults in docs/fault-table.md, row by row: what a run says, how it ends, and what it has stored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from faults.archives import ARCHIVES, file_cases
from faults.network import NETWORK
from faults.pages import page_cases
from faults.stage import ARCHIVE_NOW_MS, ONLY_ARCHIVES, REST_NOW_MS, Case, Outcome, Stage, both, fault, rows_of
from hostile_market import hurry
from program import PROJECT, Program, serve

from core.times import MS_PER_HOUR
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import AlterBody
from demo.server import ReplayExchange

DOCUMENT = PROJECT / "docs" / "fault-table.md"
CASES = [*NETWORK, *page_cases(), *ARCHIVES, *file_cases()]
# One row for each way in which a run ends and why; all others are played by tests/long.
IN_THE_SUITE = {
    # Exit 5: no answer at all, a host that says no, an answer that makes no sense, a ban.
    "connection refused",
    "stalled, for ever",
    "5xx, for ever",
    "451",
    "418 with Retry-After",
    "200 with HTML from the whole host",
    "exchange clock at 1970",
    # Exit 3: what came in time is kept, what lacks is named.
    "400 with an unknown code",
    "the same candle missing from every answer",
    "exchange clock that falls back after it was asked",
    "page short, for ever",
    "page with NaN as a text, for ever",
    "page of cut JSON, for ever",
    "archive that lacks rows, and only archives allowed",
    # Exit 0: tried again, or had from elsewhere.
    "connection closed in mid-body, once",
    "429 with Retry-After, once",
    "page unsorted, once",
    "page with a candle a millisecond late, once",
    "a possible but wrong price",
    "machine clock five hours ahead",
    "exchange clock three hours ahead",
    "archive truncated",
    "archive corrupt under a valid CHECKSUM",
    "archive with impossible values",
    "archive host unreachable",
    "archive that lacks rows, and REST too",
}
GROUPS: dict[str, dict[str, Outcome]] = {}  # what came of the runs that cases share, by the first case and symbol


@contextmanager
def replay(cases: list[Case]) -> Iterator[ReplayExchange]:
    """The exchange that the cases of a run meet, with a series for each."""
    store = CandleStore()
    for case in cases:
        store.add(case.series, rows_of(case.series.interval.code))
    with ReplayExchange(store, ReplayClock(REST_NOW_MS if cases[0].by_rest else ARCHIVE_NOW_MS, speed=0.0)) as exchange:
        yield exchange


def set_up(program: Program, exchange: ReplayExchange, cases: list[Case]) -> int:
    hurry(program)
    program.settings["NO_PROXY"] = "*"
    serve(program, exchange)
    for case in cases:
        case.prepare(program, exchange)
    return exchange.clock.now_ms()


def judge(case: Case, outcome: Outcome) -> None:
    """What holds for every row: the code, the message, no bug shown, no wrong candle and no silence."""
    print(outcome.said)
    assert outcome.exit == case.exit
    assert case.message in outcome.said
    assert "Traceback" not in outcome.said
    if case.stored == "other":
        return
    assert set(outcome.stored) <= set(outcome.truth)
    if case.stored == "usable":  # the third row of each of three pages cannot be a candle
        assert 0 < len(outcome.truth) - len(outcome.stored) <= 3
        return
    assert outcome.exit != 0 or outcome.stored == outcome.truth
    assert {"all": len(outcome.truth), "none": 0}.get(case.stored, len(outcome.stored)) == len(outcome.stored)


def run_group(program: Program, cases: list[Case]) -> dict[str, Outcome]:
    """Run all cases of a group at once. The code of one is 0 or 3: as its own outcome says and the run's does too."""
    found = {}
    with replay(cases) as exchange:
        began_ms = set_up(program, exchange, cases)
        done = program.run("--symbols", *(str(case.series) for case in cases), *cases[0].arguments)
        for case in cases:
            lines = (done.stdout + done.stderr).splitlines()
            said = "\n".join(line for line in lines if re.search(rf"\b{case.symbol}\b", line))
            code = 0 if f"{case.series}: ok, inserted" in said else 3
            assert code == 0 or done.returncode == code
            stage = Stage(program, exchange, case, began_ms)
            found[case.symbol] = Outcome(code, said, stage.stored, stage.truth)
        assert done.returncode == max(outcome.exit for outcome in found.values()), done.stderr
    assert not list(program.folder.parent.rglob("x.csv"))
    return found


def case_of(case: Case) -> object:
    return pytest.param(case, id=case.id, marks=() if case.id in IN_THE_SUITE else pytest.mark.long)


def sharing(case: Case) -> list[Case]:
    """The cases that one run serves: those of the group that are played on the same occasions."""
    is_in_the_suite = case.id in IN_THE_SUITE
    return [one for one in CASES if one.group == case.group and (one.id in IN_THE_SUITE) is is_in_the_suite]


@pytest.mark.parametrize("case", [case_of(case) for case in CASES])
def test_what_the_program_does_about(request: pytest.FixtureRequest, case: Case) -> None:
    if case.group:
        shared = sharing(case)
        key = shared[0].id
        if key not in GROUPS:
            program: Program = request.getfixturevalue("program")  # not before: most need no database of their own
            GROUPS[key] = run_group(program, shared)
        judge(case, GROUPS[key][case.symbol])
        return
    program = request.getfixturevalue("program")
    with replay([case]) as exchange:
        began_ms = set_up(program, exchange, [case])
        stage = Stage(program, exchange, case, began_ms)
        done = stage.backfill()
        judge(case, Outcome(done.returncode, done.stdout + done.stderr, stage.stored, stage.truth))
        if case.after is not None:
            case.after(stage)


def rows_of_the_document(title: str) -> list[list[str]]:
    """The cells of the rows below a heading of the document."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]


def test_what_the_suite_plays_are_rows_of_the_table() -> None:
    ids = {case.id for case in CASES}
    assert ids >= IN_THE_SUITE
    assert {case.exit for case in CASES} == {case.exit for case in CASES if case.id in IN_THE_SUITE}


def test_the_document_has_a_row_for_every_case_and_no_other() -> None:
    titles = ["Network, host and clock", "Pages of candles", "Archives"]
    rows = [row for title in titles for row in rows_of_the_document(title)]
    written = [(row[0], row[3], row[4].split(":")[0]) for row in rows]
    assert written == [(case.id, str(case.exit), case.stored) for case in CASES]
    for row, case in zip(rows, CASES, strict=True):
        assert row[2].strip("`") in case.message or case.message in row[2].strip("`"), case.id


# --- What is not as it should be ----------------------------------------------------------------------------------


def run_with_time(program: Program, server_time_ms: int) -> Outcome:
    """Let the exchange's `/time` answer this; its candles are those of REST_NOW_MS."""
    body = b'{"serverTime":%d}' % server_time_ms
    case = Case("wrong time", 0, "", "all", fault("/time", AlterBody(lambda _: body)))
    with replay([case]) as exchange:
        stage = Stage(program, exchange, case, set_up(program, exchange, [case]))
        done = stage.backfill()
        return Outcome(done.returncode, done.stdout + done.stderr, stage.stored, stage.truth)


def test_a_time_that_is_hours_ahead_lets_no_open_candle_in(program: Program) -> None:
    outcome = run_with_time(program, REST_NOW_MS + 5 * MS_PER_HOUR)
    assert set(outcome.stored) <= set(outcome.truth)


def test_a_time_beyond_the_calendar_is_no_bug_of_this_program(program: Program) -> None:
    outcome = run_with_time(program, 999_999_999_999_999_999)
    assert outcome.exit == 5
    assert "Traceback" not in outcome.said


def test_a_last_day_whose_archive_is_broken_is_named_where_only_archives_are_allowed(program: Program) -> None:
    broken = AlterBody(lambda body: body[:-1] if body[:2] == b"PK" else body)
    prepare = both(fault("2024-02.zip", broken), fault("2024-02-29.zip", broken))
    case = Case("last day", 3, "", "part", prepare, ONLY_ARCHIVES)
    with replay([case]) as exchange:
        stage = Stage(program, exchange, case, set_up(program, exchange, [case]))
        done = stage.backfill()
        assert len(stage.truth) - len(stage.stored) == 96
        print(done.stdout, done.stderr, stage.run("check").stdout)
        assert done.returncode == 3 or stage.run("check").returncode == 3
