"""The archive bucket's listing: S3 ListBucketResult pages (docs/binance.md, Archives)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

from core.times import to_datetime

MAX_KEYS = 1000
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True, slots=True, order=True)
class BucketObject:
    """One file of the bucket."""

    key: str
    modified_ms: int
    size: int  # bytes; 0 where it is not known without making the file


def listing_xml(
    objects: Iterable[BucketObject], *, prefix: str, delimiter: str, marker: str, page_size: int = MAX_KEYS
) -> bytes:
    """Return one page of what begins with `prefix` and comes after `marker`, in order of keys.

    With a delimiter, keys that go on after the next delimiter are rolled up into one CommonPrefixes
    entry, and NextMarker is given when there is more (as S3 does, only then).
    """
    entries = _entries(objects, prefix, delimiter)
    names = [name for name in sorted(entries) if name > marker]
    page, is_truncated = names[:page_size], len(names) > page_size
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        f'<ListBucketResult xmlns="{_NAMESPACE}"><Name>data.binance.vision</Name>',
        f"<Prefix>{escape(prefix)}</Prefix><Marker>{escape(marker)}</Marker>",
    ]
    if is_truncated and delimiter:
        parts.append(f"<NextMarker>{escape(page[-1])}</NextMarker>")
    parts.append(f"<MaxKeys>{page_size}</MaxKeys>")
    if delimiter:
        parts.append(f"<Delimiter>{escape(delimiter)}</Delimiter>")
    parts.append(f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated>")
    for name in page:
        found = entries[name]
        parts.append(_contents(found) if found else f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>")
    parts.append("</ListBucketResult>")
    return "".join(parts).encode()


def no_such_key_xml(key: str) -> bytes:
    """Return the body of a 404."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
        f"<Message>The specified key does not exist.</Message><Key>{escape(key)}</Key></Error>"
    ).encode()


def _entries(objects: Iterable[BucketObject], prefix: str, delimiter: str) -> dict[str, BucketObject | None]:
    """Return objects by key, and common prefixes with None."""
    entries: dict[str, BucketObject | None] = {}
    for one in objects:
        if not one.key.startswith(prefix):
            continue
        inner = one.key.find(delimiter, len(prefix)) if delimiter else -1
        if inner < 0:
            entries[one.key] = one
        else:
            entries[one.key[: inner + len(delimiter)]] = None
    return entries


def _contents(found: BucketObject) -> str:
    modified = to_datetime(found.modified_ms).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<Contents><Key>{escape(found.key)}</Key><LastModified>{modified}</LastModified>"
        f"<Size>{found.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )
