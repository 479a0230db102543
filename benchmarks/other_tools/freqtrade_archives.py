"""Run freqtrade with its archive download pointed at another host.

    python freqtrade_archives.py BASE_URL ARGUMENT ...

freqtrade has no setting for the host of the public archives. In this process only, the one function that gives an
archive's address gets another host; nothing that is installed is changed, and all the rest is freqtrade as it is.
Run by compare.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from freqtrade.exchange import binance_public_data as archives
from freqtrade.main import main

PUBLIC_HOST = "https://data.binance.vision"


def moved(address_of: Callable[..., str], base_url: str) -> Callable[..., str]:
    """Return `address_of` with `base_url` in place of the public host."""

    def address(*arguments: object, **keywords: object) -> str:
        return address_of(*arguments, **keywords).replace(PUBLIC_HOST, base_url)

    return address


if __name__ == "__main__":
    archives.binance_vision_ohlcv_zip_url = moved(archives.binance_vision_ohlcv_zip_url, sys.argv[1])
    main(sys.argv[2:])
