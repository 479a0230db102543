"""Loads all that the program loads late, in the order in which it does: Arrow comes after its allocator is chosen."""

from __future__ import annotations

from ohlcv_data_fetcher import _keep_memory_low

_keep_memory_low()

import rich.logging  # noqa: E402, F401

import commands.backfill  # noqa: E402
import commands.check  # noqa: E402
import commands.command_line  # noqa: E402
import commands.demo  # noqa: E402
import commands.run_log  # noqa: E402
import commands.status  # noqa: E402
import commands.stream  # noqa: E402
import commands.verify  # noqa: E402, F401
import config.yaml_file  # noqa: E402, F401
