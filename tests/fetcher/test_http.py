from __future__ import annotations

import contextlib
import gzip
import importlib.util
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from core.errors import ConfigurationError
from fetcher.http import BodyTooLarge, TemporaryFailure, new_session, read_body, send


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


@pytest.mark.parametrize("password", ["s3cr#et", "s3cr/et"])
def test_a_proxy_whose_password_cuts_its_address_is_named_as_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{password}@127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"the proxy that the environment names .* %23 or %2F"):
        send(new_session(1, "http://127.0.0.1:9"), "http://127.0.0.1:9", {})


def test_a_socks_proxy_without_its_package_is_no_fault_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("socks"):
        pytest.skip("the package is installed here")
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"pip install 'requests\[socks\]'"):
        send(new_session(1, "http://127.0.0.1:9"), "http://127.0.0.1:9", {})


def test_a_host_that_is_to_be_reached_directly_gets_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "api.binance.com")
    assert not new_session(2, "https://api.binance.com").proxies
    assert new_session(2, "https://fapi.binance.com").proxies


def test_without_a_word_in_the_environment_certificates_are_checked() -> None:
    session = new_session(2, "https://api.binance.com")
    assert session.verify is True
    assert not session.proxies


@pytest.fixture
def trickle() -> Iterator[str]:
    """A server whose answers announce a hundred bytes and send one every fiftieth of a second."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
                with contextlib.suppress(OSError):
                    for _ in range(100):
                        connection.sendall(b"x")
                        time.sleep(0.02)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_body_that_trickles_does_not_hold_a_run_for_ever(trickle: str) -> None:
    session = new_session(1, trickle)
    began = time.monotonic()
    with send(session, trickle, {}) as response, pytest.raises(TemporaryFailure, match="within 0 seconds"):
        list(read_body(response, trickle, 1_000, most_s=0.3))
    session.close()
    assert time.monotonic() - began < 3


def test_a_body_that_comes_in_time_is_read_whole(trickle: str) -> None:
    session = new_session(1, trickle)
    with send(session, trickle, {}) as response:
        assert b"".join(read_body(response, trickle, 1_000, most_s=30)) == b"x" * 100
    session.close()


@pytest.fixture
def gzip_bomb() -> Iterator[str]:
    """A server whose answer unpacks to fifty megabytes of blanks."""
    body = gzip.compress(b" " * 50_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(head + body)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_body_that_unpacks_to_too_much_is_not_unpacked_whole(gzip_bomb: str) -> None:
    session = new_session(1, gzip_bomb)
    taken = 0
    with send(session, gzip_bomb, {}) as response, pytest.raises(BodyTooLarge, match="more than 1,000,000 bytes"):
        for block in read_body(response, gzip_bomb, 1_000_000):
            taken += len(block)
    session.close()
    assert taken <= 1_000_000
