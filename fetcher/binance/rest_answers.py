"""What each kind of REST answer means: data, try again, skip this series, or skip the market."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import orjson
import requests

from core.errors import ExchangeUnavailable, NoAnswer, SeriesError, UnusableAnswer
from core.times import from_datetime
from fetcher.ban_file import LONGEST_BACK_OFF_S
from fetcher.http import TemporaryFailure

_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
# Codes of temporary errors: unknown, internal, timeout, overload, maintenance (docs/binance.md, Error codes).
_PASSING_CODES = frozenset({-1000, -1001, -1007, -1008, -1016})
_DEFAULT_BAN_MS = 120_000  # the shortest ban (docs/binance.md, Weight and bans)


class RateLimited(Exception):
    """Status 429: wait `wait_s` seconds (None: not given) before any further request."""

    def __init__(self, wait_s: float | None) -> None:
        super().__init__("rate limited")
        self.wait_s = wait_s


class Banned(Exception):
    """Status 418, or a 429 with the end of a ban: send nothing for `for_ms`."""

    def __init__(self, for_ms: int) -> None:
        super().__init__("banned")
        self.for_ms = for_ms


class RefusedRequest(SeriesError):
    """Status 400: the exchange refuses this request, with the `code` of its error."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Refusal:
    code: int | None
    message: str


def check_status(response: requests.Response, body: bytes, now_ms: int) -> None:
    """Do nothing when the status is 200, else raise the error that the answer stands for.

    Raises RateLimited, Banned, TemporaryFailure (server faults), SeriesError (this request is
    refused) or ExchangeUnavailable (geo-block, firewall, wrong address). `now_ms` is the exchange's
    clock, to compare "banned until" with.
    """
    status = response.status_code
    if status == 200:
        return
    refusal = _refusal(body)
    shown = f"{response.url.split('?')[0]} answers {status}: {refusal.message}"
    if status in (418, 429) or refusal.code == -1003:
        _raise_limit(response, refusal, now_ms)
    if status == 451:
        raise ExchangeUnavailable(
            f"{shown} The exchange does not serve this location. For spot set BINANCE_API_URL to "
            "https://data-api.binance.vision; for futures use --source archive"
        )
    if status == 403:
        raise ExchangeUnavailable(
            f"{shown} The exchange's firewall refuses this address: wait, use another network, or use --source archive"
        )
    if status >= 500 or status == 408 or refusal.code in _PASSING_CODES:
        raise TemporaryFailure(shown, NoAnswer)
    if status == 400 and refusal.code is not None:
        raise RefusedRequest(f"{shown} (code {refusal.code})", refusal.code)
    if status < 400 or status == 404:
        raise ExchangeUnavailable(
            f"{shown} Check the address in BINANCE_API_URL, BINANCE_UM_API_URL, BINANCE_CM_API_URL"
        )
    raise TemporaryFailure(shown, UnusableAnswer)


def read_json(body: bytes) -> object:
    """Return the decoded body. Raises UnusableAnswer when it is not complete JSON: HTML, truncated, empty, NaN."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        start = body[:60].decode(errors="replace")
        raise UnusableAnswer(f"the answer is not whole JSON ({len(body)} bytes, begins {start!r}): {error}") from error


def _raise_limit(response: requests.Response, refusal: _Refusal, now_ms: int) -> None:
    wait_s = _retry_after(response)
    named = _BANNED_UNTIL.search(refusal.message)
    if named is not None:
        # At least the shortest ban: the exchange's clock, `now_ms`, may not be set yet.
        raise Banned(max(int(named[1]) - now_ms, int((wait_s or 0) * 1000), _DEFAULT_BAN_MS))
    if response.status_code == 418 or (wait_s or 0) > LONGEST_BACK_OFF_S:
        raise Banned(max(int((wait_s or 0) * 1000), _DEFAULT_BAN_MS))
    raise RateLimited(wait_s)


def _retry_after(response: requests.Response) -> float | None:
    text = response.headers.get("Retry-After", "").strip()
    return float(text) if is_count(text) else None


def latest_time(response: requests.Response) -> int | None:
    """Return the latest time (epoch ms) at which the answer can have been sent, by its Date header.

    None: there is no such header. It has whole seconds. The web server sets it, not the API, so it is independent of
    the time that `/time` returns.
    """
    try:
        return from_datetime(parsedate_to_datetime(response.headers["Date"])) + 999
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def is_count(text: str) -> bool:
    """Whether a header's text is a whole number with fewer than ten digits."""
    return text.isascii() and text.isdigit() and len(text) < 10


def _refusal(body: bytes) -> _Refusal:
    try:
        document = orjson.loads(body)
        return _Refusal(int(document["code"]), str(document["msg"])[:300])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        text = re.sub(r"<[^>]*>|\s+", " ", body[:2000].decode(errors="replace"))
        return _Refusal(None, " ".join(text.split())[:200] or "(no text)")
