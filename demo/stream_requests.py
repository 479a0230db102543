"""What a client may send over a stream connection, and the answers (docs/binance.md, Streams). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

MAX_STREAMS = 1024
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_COMBINED = "combined"
_MAX_ID_LENGTH = 36
_INT64 = 2**63


@dataclass(slots=True)
class Subscriptions:
    """What one connection asked for: the names in the order in which they came, and how frames are wrapped."""

    names: dict[str, None]
    combined: bool

    @property
    def are_too_many(self) -> bool:
        """Whether the connection is to be closed for it."""
        return len(self.names) > MAX_STREAMS


class _Malformed(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def answer_request(text: bytes | str, subscriptions: Subscriptions) -> bytes:
    """Do what the request `text` asks for to `subscriptions` and return the answer. Names are not looked at."""
    request_id = None
    try:
        request = _read(text)
        request_id = _request_id(request)
        result = _do(request, subscriptions)
    except _Malformed as error:
        answer = {"code": error.code, "msg": str(error)}
        return orjson.dumps(answer if request_id is None else {**answer, "id": request_id})
    return orjson.dumps({"result": result, "id": request_id})


def _read(text: bytes | str) -> dict[str, Any]:
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        message = f"Invalid JSON: expected value at line {error.lineno} column {error.colno}"
        raise _Malformed(3, message) from error
    if not isinstance(request, dict):
        raise _Malformed(2, "Invalid request: expected an object")
    return request


def _request_id(request: dict[str, Any]) -> int | str | None:
    wrong = _Malformed(2, "Invalid request: request ID must be an unsigned integer")
    if "id" not in request:
        raise wrong
    match request["id"]:
        case bool():
            raise wrong
        case None:
            return None
        case int() as number if -_INT64 <= number < _INT64:
            return number
        case str() as name if len(name) <= _MAX_ID_LENGTH and name.isascii() and name.isalnum():
            return name
    raise wrong


def _do(request: dict[str, Any], subscriptions: Subscriptions) -> Any:
    if "method" not in request:
        raise _Malformed(2, "Invalid request: missing field `method` at line 1 column 1")
    method, params = request["method"], request.get("params", [])
    if method not in _METHODS:
        expected = ", ".join(f"`{one}`" for one in _METHODS)
        raise _Malformed(
            2, f"Invalid request: unknown variant `{method}`, expected one of {expected} at line 1 column 1"
        )
    if not isinstance(params, list):
        raise _Malformed(2, "Invalid request: invalid type: params must be a list")
    match method:
        case "SUBSCRIBE":
            subscriptions.names.update(dict.fromkeys(_names(params)))
        case "UNSUBSCRIBE":
            for name in _names(params):
                subscriptions.names.pop(name, None)
        case "LIST_SUBSCRIPTIONS":
            return list(subscriptions.names)
        case "SET_PROPERTY":
            subscriptions.combined = _new_property(params)
        case "GET_PROPERTY":
            _check_property(params[:1])
            return subscriptions.combined
    return None


def _names(params: list[Any]) -> list[str]:
    if not all(isinstance(name, str) for name in params):
        raise _Malformed(2, "Invalid request: invalid type: stream names must be strings")
    return params


def _new_property(params: list[Any]) -> bool:
    if len(params) > 2:
        raise _Malformed(2, "Invalid request: too many parameters")
    _check_property(params[:1])
    if len(params) < 2 or not isinstance(params[1], bool):
        raise _Malformed(1, "Invalid value type: expected Boolean")
    return params[1]


def _check_property(params: list[Any]) -> None:
    if not params or not isinstance(params[0], str):
        raise _Malformed(2, "Invalid request: property name must be a string")
    if params[0] != _COMBINED:
        raise _Malformed(0, "Unknown property")
