"""An HTTP answer before it goes onto the wire, and the exchange's way of writing errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

JSON_TYPE = "application/json;charset=UTF-8"
XML_TYPE = "application/xml"
ZIP_TYPE = "application/zip"


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body and headers; `weight` is what the request cost."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)
    weight: int = 0


def json_reply(value: Any, weight: int = 0) -> Reply:
    """Return `value` as a 200."""
    return Reply(200, orjson.dumps(value), weight=weight)


def error_body(code: int, message: str) -> bytes:
    """Return `{"code":...,"msg":...}` (docs/binance.md, Error codes)."""
    return orjson.dumps({"code": code, "msg": message})


class Refused(Exception):  # an answer, not a fault of this program
    """The request breaks a rule of the exchange and is answered with 400 and this code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def reply(self, weight: int) -> Reply:
        """Return the 400."""
        return Reply(400, error_body(self.code, self.message), weight=weight)


def invalid_symbol() -> Refused:
    """Return the refusal of a symbol that is not there."""
    return Refused(-1121, "Invalid symbol.")
