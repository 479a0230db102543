"""Reads a YAML file that a person has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigurationError


def read_yaml(path: Path) -> object:
    """Return the document in the file `path`. Raises ConfigurationError."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    # PyYAML does not wrap errors of converting a date or number (2023-02-30), or of a tag on the wrong node.
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError, LookupError) as error:
        raise ConfigurationError(f"{path} is not valid YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """Safe YAML loader that refuses a key that is written twice; PyYAML would silently use the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        doubled = {key for key in keys if isinstance(key, str) and keys.count(key) > 1}
        if doubled:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {doubled.pop()!r} is written twice", node.start_mark
            )
        return super().construct_mapping(node, deep)
