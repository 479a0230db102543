"""Sends requests to one market's REST host, within bans, pauses and weight budget, and checks their status."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import requests

from core.errors import ExchangeBanned, ExchangeUnavailable, NoAnswer, SeriesError, UnusableAnswer
from core.times import format_ms
from fetcher.binance.rest_answers import Banned, RateLimited, check_status, is_count, latest_time, read_json
from fetcher.circuit_file import CircuitFile
from fetcher.deadline import Deadline
from fetcher.exchange_clock import ExchangeClock
from fetcher.gate import Gate
from fetcher.http import BodyTooLarge, Sleep, TemporaryFailure, new_session, read_body, send, with_retries

TIME_PATH = "/time"
_MOST_BODY_BYTES = 64 << 20  # all of spot's exchangeInfo with permission sets has some 16 MB, a page 0.3 MB

Result = TypeVar("Result")
Reader = Callable[[object, int | None], Result]
"""Parses a body; the second argument is the latest time, epoch ms, that the answer's Date header allows."""


class RestClient:
    """Sends requests to the REST host of one market. Thread-safe."""

    def __init__(
        self,
        url: str,
        gate: Gate,
        clock: ExchangeClock,
        sleep: Sleep,
        connections: int,
        circuit: CircuitFile | None = None,
    ) -> None:
        self.gate = gate
        self._url = url
        self._clock = clock
        self._sleep = sleep
        self._session = new_session(connections, url)
        self._circuit = circuit

    def get(
        self, path: str, params: dict[str, str], weight: int, read: Reader[Result], deadline: Deadline | None = None
    ) -> Result:
        """Return what `read` makes of the answer to GET `path`, which costs `weight`.

        Repeats the request, until `deadline`, while the answer is unusable or the error temporary. Raises SeriesError
        when this request is refused or stays unusable, ExchangeUnavailable when the whole market cannot be used.
        """
        return with_retries(lambda: self._attempt(path, params, weight, read), self._sleep, deadline=deadline)

    def _attempt(self, path: str, params: dict[str, str], weight: int, read: Reader[Result]) -> Result:
        minute = self.gate.wait(weight, reserved=path != TIME_PATH)
        if self._circuit is None:
            return self._send(path, params, minute, read)
        self._circuit.refuse_while_open()
        try:
            result = self._send(path, params, minute, read)
        except TemporaryFailure as failure:
            if failure.exhausted is NoAnswer:
                self._circuit.failed()
            else:  # also 429: that is no failure of the host
                self._circuit.answered()
            raise
        except (SeriesError, ExchangeUnavailable):  # an answer, whatever it says
            self._circuit.answered()
            raise
        self._circuit.answered()
        return result

    def _send(self, path: str, params: dict[str, str], minute: int, read: Reader[Result]) -> Result:
        response = send(self._session, self._url + path, params)
        used = response.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if is_count(used):
            self.gate.correct(minute, int(used))
        try:
            body = self._read_body(response, path)
            check_status(response, body, self._clock.now_ms())
            return read(read_json(body), latest_time(response))
        except RateLimited as limit:
            wait_s = limit.wait_s if limit.wait_s is not None else 60.0
            self.gate.pause(wait_s)
            raise TemporaryFailure(
                f"{self._url}{path} answers 429, too many requests", ExchangeUnavailable, wait_s
            ) from limit
        except Banned as ban:
            until_ms = self.gate.ban(ban.for_ms, latest_time(response))
            raise ExchangeBanned(
                f"{self._url} has banned this address until {format_ms(until_ms // 1000 * 1000)}; "
                "the run stops and no request is sent before that. Lower BINANCE_WEIGHT_SHARE if other "
                "programs use the same address",
                until_ms,
            ) from ban
        except (UnusableAnswer, BodyTooLarge) as error:
            raise TemporaryFailure(str(error), UnusableAnswer) from error

    def _read_body(self, response: requests.Response, path: str) -> bytes:
        with response:
            try:
                return b"".join(read_body(response, self._url + path, _MOST_BODY_BYTES))
            except TemporaryFailure:
                if response.status_code == 200:
                    raise
                return b""  # status and headers are enough, for example of a ban
