"""All HTTP goes through here: sends requests, retries with growing waits, turns transport faults into errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import requests
import tenacity
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, LocationParseError

from core.errors import ConfigurationError, FetcherError, NoAnswer
from fetcher.deadline import Deadline

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 30
BODY_TIMEOUT_S = 60
_BLOCK_BYTES = 1 << 18
ATTEMPTS = 6
_ATTEMPTS_PAST_DEADLINE = 2
_LONGEST_WAIT_S = 30

_log = logging.getLogger(__name__)

Sleep = Callable[[float], None]
Result = TypeVar("Result")


class TemporaryFailure(Exception):
    """An attempt failed, but another may succeed. `exhausted` is the error to raise when all attempts failed."""

    def __init__(self, message: str, exhausted: Callable[[str], FetcherError], wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.exhausted = exhausted
        self.wait_s = wait_s  # at least this long before the next attempt


class BodyTooLarge(Exception):
    """A body is larger than any valid answer to the request."""


def new_session(connections: int, url: str) -> requests.Session:
    """Return a session for the host of `url` that keeps up to `connections` connections open.

    Proxies and certificates come from the environment, which is read once here: for each request it would be
    a fifth of the work. Raises ConfigurationError on a bad address.
    """
    session = requests.Session()
    try:
        from_environment = session.merge_environment_settings(url, {}, None, None, None)
    except ValueError as error:
        raise ConfigurationError(f"{url} is not a usable address: {error}") from error
    session.proxies, session.verify = from_environment["proxies"], from_environment["verify"]
    session.trust_env = False
    session.headers["User-Agent"] = "ohlcv-data-fetcher"
    session.mount("http://", HTTPAdapter(pool_maxsize=connections))
    session.mount("https://", HTTPAdapter(pool_maxsize=connections))
    return session


def send(session: requests.Session, url: str, params: dict[str, str]) -> requests.Response:
    """Send one GET request; the body is read by `read_body`.

    Raises TemporaryFailure on any transport fault, ConfigurationError on a bad address.
    """
    try:
        # The API never redirects; following a redirect would lead to a web page.
        return session.get(
            url, params=params, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S), allow_redirects=False
        )
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, LocationParseError) as error:
        via = ""
        if requests.utils.select_proxy(url, session.proxies):
            via = ", or the proxy that the environment names for it (a # or / in its password is written %23 or %2F)"
        raise ConfigurationError(f"{url} is not a usable address{via}: {error}") from error
    except requests.exceptions.InvalidSchema as error:
        if not requests.utils.select_proxy(url, session.proxies):
            raise ConfigurationError(f"{url} is not a usable address, it begins with neither http nor https") from error
        raise ConfigurationError(
            f"the proxy that the environment names for {url} cannot be used: {error} For a SOCKS proxy install "
            "one more package: .venv/bin/pip install 'requests[socks]'"
        ) from error
    except requests.exceptions.RequestException as error:
        raise TemporaryFailure(transport_fault(url, error), NoAnswer) from error


def read_body(
    response: requests.Response, url: str, most_bytes: int, most_s: float = BODY_TIMEOUT_S
) -> Iterator[bytes]:
    """Yield the body of an answer in blocks, for at most `most_s` seconds and `most_bytes` (decompressed).

    The session's read timeout limits only the time between two bytes, so a very slow body would never end.
    Raises TemporaryFailure when the body is incomplete or takes too long, BodyTooLarge when it has more bytes.
    """
    ends_s = time.monotonic() + most_s
    taken = 0
    try:
        while block := response.raw.read1(_BLOCK_BYTES, decode_content=True):
            taken += len(block)
            if taken > most_bytes:
                raise BodyTooLarge(f"{url} answers more than {most_bytes:,} bytes")
            yield block
            if time.monotonic() > ends_s:
                raise TemporaryFailure(
                    f"no whole answer from {url} within {most_s:.0f} seconds; check the network", NoAnswer
                )
    except (requests.exceptions.RequestException, HTTPError, OSError) as error:
        raise TemporaryFailure(transport_fault(url, error), NoAnswer) from error


def transport_fault(url: str, error: Exception) -> str:
    """Return a message for a request without a complete answer; it names the innermost cause of `error`."""
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    what = f"{type(error).__name__}: {str(cause)[:200]}"
    return f"no whole answer from {url}: {what}; check the network and the address"


def _log_retry(state: tenacity.RetryCallState) -> None:
    failure = state.outcome.exception() if state.outcome else None
    _log.info("trying again in %.0f s: %s", state.upcoming_sleep, failure)


def _stop(attempts: int, deadline: Deadline) -> Callable[[tenacity.RetryCallState], bool]:
    def stop(state: tenacity.RetryCallState) -> bool:
        # One passing fault is sat out also past the deadline: it must not cost the whole market.
        return state.attempt_number >= (_ATTEMPTS_PAST_DEADLINE if deadline.is_past else attempts)

    return stop


def with_retries(
    attempt: Callable[[], Result], sleep: Sleep, attempts: int = ATTEMPTS, deadline: Deadline | None = None
) -> Result:
    """Return what `attempt` returns; try again while it raises TemporaryFailure, `attempts` times or until `deadline`.

    Waits grow from one second to thirty, with jitter, and are at least the failure's `wait_s`. When all attempts
    failed, the failure's `exhausted` error is raised.
    """
    jitter = tenacity.wait_exponential_jitter(initial=1, max=_LONGEST_WAIT_S)

    def wait(state: tenacity.RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        return max(jitter(state), failure.wait_s if isinstance(failure, TemporaryFailure) else 0.0)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TemporaryFailure),
        stop=tenacity.stop_after_attempt(attempts) if deadline is None else _stop(attempts, deadline),
        wait=wait,
        sleep=sleep,
        before_sleep=_log_retry,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except TemporaryFailure as failure:
        made = retrying.statistics.get("attempt_number", attempts)
        raise failure.exhausted(f"{failure} (given up after {made} attempts; run again later)") from failure
