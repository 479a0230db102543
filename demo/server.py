"""The replay exchange as a server on 127.0.0.1, over real sockets."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from demo.archive_rules import ArchiveRules
from demo.bucket_listing import MAX_KEYS
from demo.candle_store import CandleStore
from demo.clock import ReplayClock
from demo.faults import Action, AlterArchive, AlterBody, AlterRows, Answer, CutBody, FaultScript, Reset, Stall
from demo.market_data import MarketData
from demo.reply import Reply
from demo.routes import BUCKET_PATH, Routes
from demo.sockets import SocketServer
from demo.weights import USED_WEIGHT_HEADER, WeightLimits

if TYPE_CHECKING:
    from demo.stream_server import StreamServer

_CHECKSUM = ".CHECKSUM"
_CHECKSUM_DIGITS = 64


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as it was answered. `status` is 0 where the connection was closed without an answer."""

    path: str  # decoded, without the query
    params: Mapping[str, str]
    status: int
    weight: int  # what it cost; 0 for archives
    at_ms: int  # when it came, by the replay clock


class ReplayExchange:
    """Binance's public market-data hosts in one local server: three REST markets, archives, listing, live streams.

    Use it as a context manager, or with `start()` and `stop()`. `store` and `clock` may be changed
    while it runs; `faults` makes chosen requests go wrong; `requests` tells what was asked.
    `latency_s` (real seconds) comes before every answer. Without `archives` their paths answer 404.
    The live streams (`streams`, `stream_urls`) begin when they are first asked for.
    """

    def __init__(
        self,
        store: CandleStore,
        clock: ReplayClock,
        *,
        archives: bool = True,
        weight_limits: WeightLimits | None = None,
        latency_s: float = 0.0,
        list_page_size: int = MAX_KEYS,
    ) -> None:
        self.store = store
        self.clock = clock
        self.faults = FaultScript()
        self._data = MarketData(store)
        archive_rules = ArchiveRules(self._data, list_page_size) if archives else None
        self._routes = Routes(self._data, clock, weight_limits or WeightLimits(), archive_rules)
        self._latency_s = latency_s
        self._lock = threading.Lock()
        self._requests: list[RequestRecord] = []
        self._stopping = threading.Event()
        self._server: SocketServer | None = None
        self._port = 0
        self._streams: StreamServer | None = None

    def start(self) -> ReplayExchange:
        """Begin to answer and return self. After a stop, the port is the same as before."""
        if self._server is None:
            self._stopping.clear()
            self._server = SocketServer(self._port, _handler_for(self))
            self._port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
            if self._streams is not None:
                self._streams.start()
        return self

    def stop(self) -> None:
        """Stop answering and close all connections, also those that are kept alive."""
        if self._streams is not None:
            self._streams.stop()
        if self._server is not None:
            self._stopping.set()
            self._server.shutdown()
            self._server.server_close()
            self._server.close_connections()
            self._server = None

    def __enter__(self) -> ReplayExchange:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Base of the REST markets: `/api/v3/...`, `/fapi/v1/...` and `/dapi/v1/...` come after it."""
        if not self._port:
            raise RuntimeError("the replay exchange has no address before it is started")
        return f"http://127.0.0.1:{self._port}"

    @property
    def streams(self) -> StreamServer:
        """The live streams of the three markets, with their faults and counters. Needs requirements-live.txt."""
        if self._streams is None:
            from demo.stream_channels import Channels  # who wants no streams needs no websockets
            from demo.stream_server import StreamServer

            if self._server is None:
                raise RuntimeError("the replay exchange has no streams before it is started")
            self._streams = StreamServer(self.clock, Channels(self._data)).start()
        return self._streams

    @property
    def stream_urls(self) -> dict[str, str]:
        """Base of the live streams by market (`spot`, `um`, `cm`): `/ws/...`, `/stream?...` come after it."""
        return self.streams.urls

    @property
    def archive_url(self) -> str:
        """Base of the archives: `/data/...` comes after it."""
        return self.url

    @property
    def archive_list_url(self) -> str:
        """Address of the bucket's listing: `?delimiter=/&prefix=...&marker=...` comes after it."""
        return self.url + BUCKET_PATH

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests so far, in the order in which they came to be answered."""
        with self._lock:
            return list(self._requests)

    def count(self, path_contains: str = "") -> int:
        """Return how many requests so far had `path_contains` in their path."""
        return sum(path_contains in record.path for record in self.requests)

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()

    def handle(self, target: str) -> tuple[Reply, Action | None]:
        """Return the answer to GET `target` (path and query as sent) and the fault to act out while sending it.

        Waits out latency and stalls; a stop ends the wait.
        """
        at_ms = self.clock.now_ms()
        parts = urlsplit(target)
        path, params = unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True))
        action = self.faults.take(f"{path}?{unquote(parts.query)}" if parts.query else path)
        reply = _altered(self._routes.answer(path, params), action)
        if isinstance(action, AlterArchive) and reply.status == 200:
            reply = replace(reply, body=self._altered_file(path, reply.body, action))
        reply = replace(reply, headers={"Date": formatdate(at_ms / 1000, usegmt=True), **reply.headers})
        status = 0 if isinstance(action, Reset) else reply.status
        with self._lock:
            self._requests.append(RequestRecord(path, params, status, reply.weight, at_ms))
        wait_s = self._latency_s + (action.seconds if isinstance(action, Stall) else 0.0)
        if wait_s > 0:
            self._stopping.wait(wait_s)
        return reply, action

    def _altered_file(self, path: str, body: bytes, action: AlterArchive) -> bytes:
        """Return the altered zip, or the CHECKSUM that fits it."""
        if path.endswith(".zip"):
            return action.altered(body)
        if not path.endswith(_CHECKSUM):
            return body
        content = action.altered(self._routes.answer(path.removesuffix(_CHECKSUM), {}).body)
        return hashlib.sha256(content).hexdigest().encode() + body[_CHECKSUM_DIGITS:]


def _altered(reply: Reply, action: Action | None) -> Reply:
    match action:
        case Answer():
            kept = {name: value for name, value in reply.headers.items() if name == USED_WEIGHT_HEADER}
            headers = {**kept, **action.headers}
            return Reply(action.status, action.encoded(), action.content_type, headers, reply.weight)
        case AlterBody():
            return replace(reply, body=action.change(reply.body))
        case AlterRows() if reply.status == 200 and reply.body.startswith(b"["):
            return replace(reply, body=orjson.dumps(action.change(orjson.loads(reply.body))))
    return reply


def _handler_for(exchange: ReplayExchange) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keep-alive
        disable_nagle_algorithm = True
        wbufsize = -1  # headers and body leave in one write

        def do_GET(self) -> None:
            reply, action = exchange.handle(self.path)
            if isinstance(action, Reset):
                self.close_connection = True
                return
            self.send_response_only(reply.status)  # the Date is the exchange's, not this machine's
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if isinstance(action, CutBody):
                self.wfile.write(reply.body[: len(reply.body) // 2])
                self.close_connection = True
            elif self.command != "HEAD":
                self.wfile.write(reply.body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: `exchange.requests` has it."""

    return Handler
