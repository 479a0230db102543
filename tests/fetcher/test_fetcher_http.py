from __future__ import annotations

import pytest

from fetcher.http import new_session


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_session_uses_the_proxy_and_certificates_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle = tmp_path_factory.mktemp("certificates") / "bundle.pem"
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    session = new_session(2, "https://api.binance.com")
    assert session.proxies["https"] == "http://proxy.example:3128"
    assert session.verify == str(bundle)


def test_a_host_that_is_to_be_reached_directly_gets_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "api.binance.com")
    assert not new_session(2, "https://api.binance.com").proxies
    assert new_session(2, "https://fapi.binance.com").proxies


def test_without_a_word_in_the_environment_certificates_are_checked() -> None:
    session = new_session(2, "https://api.binance.com")
    assert session.verify is True
    assert not session.proxies
