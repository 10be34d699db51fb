"""Who listens proves itself before it is shown a token."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.execution.challenge import ChallengeStatement
from contracts.verify.trust import Trust
from contracts.wire.envelope import Envelope, decode_base64
from supervisor.adapters.files import write_private
from supervisor.adapters.home import Home
from supervisor.adapters.identity.keys import make_signer
from supervisor.client.engine_client import EngineClient
from supervisor.client.proof import verify_answer
from supervisor.domain.errors import EngineError
from supervisor.execution.recorder import Recorder
from tests.api.harness import PATIENCE_S, TOKEN, Engine
from tests.api.raw import exchange
from tests.fakes.releases import FakeReleases

NONCE = "n" * 32


def asking(nonce: str) -> bytes:
    return f"GET /v1/challenge?nonce={nonce} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def verdict(data: bytes, trust: Trust, *, nonce: str = NONCE, address: str) -> str:
    proof = verify_answer(data, nonce=nonce, address=address, trust=trust, releases=FakeReleases())
    return "VALID" if proof.document is not None else proof.checks[-1].code


async def test_the_engine_signs_nonce_address_and_version_for_who_has_no_token(engine: Engine) -> None:
    answer = await exchange(engine, asking(NONCE))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/vnd.in-toto+json")
    address = f"127.0.0.1:{engine.client.port}"
    assert verdict(answer.body, engine.trust, address=address) == "VALID"
    said = ChallengeStatement.parse(decode_base64(Envelope.parse(answer.body).payload)).predicate
    assert (said.nonce, said.address, said.engine_version) == (NONCE, address, engine.version.engine_version)


async def test_an_answer_is_good_for_one_nonce_one_address_and_trusted_keys(engine: Engine) -> None:
    data = (await exchange(engine, asking(NONCE))).body
    address = f"127.0.0.1:{engine.client.port}"
    assert verdict(data, engine.trust, nonce="other" * 8, address=address) == "ID_MISMATCH"
    assert verdict(data, engine.trust, address="127.0.0.1:1") == "ID_MISMATCH"
    other = Trust(
        schema_version="weos.trust/1",
        keys=(engine.trust.keys[0].model_copy(update={"public_key": make_signer().public_key}),),
    )
    assert verdict(data, other, address=address) == "BAD_SIGNATURE"
    versions = Trust(
        schema_version="weos.trust/1",
        keys=(engine.trust.keys[0].model_copy(update={"engine_version": "9.9.9+dev.0123456789ab"}),),
    )
    assert verdict(data, versions, address=address) == "KEY_VERSION_MISMATCH"
    assert verdict(b"{}", engine.trust, address=address) == "SCHEMA_VIOLATION"


@pytest.mark.parametrize("query", ["", "?nonce=", "?nonce=short", f"?nonce={'n' * 129}", f"?nonce={NONCE}&x=1"])
async def test_a_challenge_has_one_nonce(engine: Engine, query: str) -> None:
    answer = await exchange(engine, f"GET /v1/challenge{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.problem("GET", "/v1/challenge").code == "bad_parameter"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_else_of_the_path_is_public(engine: Engine, method: str) -> None:
    answer = await exchange(engine, f"{method} /v1/challenge HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.status == 401


@pytest.fixture
async def home(engine: Engine, tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    write_private(home.token_file, TOKEN.encode())
    write_private(home.trust_file, json.dumps(engine.trust.model_dump(mode="json", exclude_none=True)).encode())
    return home


async def test_our_client_speaks_over_a_port_to_an_engine_that_proves_itself(engine: Engine, home: Home) -> None:
    client = EngineClient(home, port=engine.client.port)
    version = await asyncio.to_thread(client.get, "/v1/version")
    assert version["engine_version"] == engine.version.engine_version


@contextmanager
def listening(answer_to: bytes, then: bytes = b"") -> Iterator[tuple[int, list[bytes]]]:
    """Somebody else on a port: answers the challenge so, and keeps all that is said."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)

        def serve() -> None:
            with server.accept()[0] as caller:
                caller.settimeout(PATIENCE_S)
                heard.append(caller.recv(65536))
                caller.sendall(answer_to)
                while more := caller.recv(65536):
                    heard.append(more)
                    caller.sendall(then)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], heard
        thread.join()


def http(body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def refused(home: Home, port: int) -> EngineError:
    def ask() -> EngineError:
        with pytest.raises(EngineError) as error:
            EngineClient(home, port=port).get("/v1/version")
        return error.value

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("kind", ["nonsense", "own key", "passed on", "old answer"])
async def test_nobody_else_is_shown_the_token(engine: Engine, home: Home, kind: str) -> None:
    known = {
        "nonsense": b"{}",
        "own key": Recorder(engine.version.engine_version, None, make_signer()).seal_challenge(
            NONCE, "127.0.0.1:1", now=datetime.now(UTC)
        ),
        "passed on": (await exchange(engine, asking(NONCE))).body,
        "old answer": (await exchange(engine, asking("o" * 32))).body,
    }
    with listening(http(known[kind])) as (port, heard):
        error = await refused(home, port)
    assert error.code == "address_unproven"
    assert "no token was sent" in error.detail
    assert TOKEN.encode() not in b"".join(heard)


async def test_a_connection_that_ends_after_the_proof_is_not_opened_again(
    engine: Engine, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.client.engine_client.verify_answer", lambda *_, **__: _Proven())
    with listening(http(b"{}", "Connection: close\r\n")) as (port, heard):
        error = await refused(home, port)
    assert error.code == "engine_unavailable"
    assert TOKEN.encode() not in b"".join(heard)


class _Proven:
    document = object()
    checks = ()
