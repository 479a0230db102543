"""A database holds candles of the real exchange or of its test network, never of both."""

from __future__ import annotations

import pytest

from core.errors import ConfigurationError
from core.instrument import ExchangeName
from db.connection import Database
from db.environment import require_environment


@pytest.mark.parametrize("first", [True, False])
def test_who_comes_first_decides_and_the_other_is_refused(database: Database, first: bool) -> None:
    require_environment(database, ExchangeName.BINANCE, first)
    require_environment(database, ExchangeName.BINANCE, first)
    with pytest.raises(ConfigurationError, match="use another database"):
        require_environment(database, ExchangeName.BINANCE, not first)


def test_a_database_with_candles_from_before_is_of_the_real_exchange(database: Database) -> None:
    with database.transaction("fill") as tx:
        tx.cursor.execute("insert into public.fetch_environment values ('binance', false)")
    with pytest.raises(ConfigurationError, match="holds candles of the real exchange"):
        require_environment(database, ExchangeName.BINANCE, True)
