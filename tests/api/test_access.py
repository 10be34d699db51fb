"""Who may call, under which name, and what paths and methods there are."""

import pytest

from tests.api.harness import TOKEN, Engine, problem_of
from tests.api.raw import HEAD, exchange

PATHS = ("/v1/version", "/v1/runs", "/v1/models", "/v1/backends", "/healthz", "/readyz", "/openapi.json", "/v1/nothing")


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_answers_without_a_token(engine: Engine, path: str) -> None:
    answer = await exchange(engine, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.problem("GET", path).code == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN} x",
        f"Bearer x {TOKEN}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xff\xfe",
        "Bearer \xc3\xa9",
        "\xff",
    ],
)
async def test_a_wrong_token_is_refused(engine: Engine, value: str) -> None:
    head = b"GET /v1/version HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + value.encode("latin-1")
    assert (await exchange(engine, head + b"\r\n\r\n")).problem().code == "unauthorized"
    await engine.is_well()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_name_of_the_scheme_has_no_case(engine: Engine, scheme: str) -> None:
    answer = await engine.client.get("/v1/version", headers={"Authorization": f"{scheme} {TOKEN}"})
    assert answer.status == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8642", "localhost:", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:65535"]
)
async def test_this_machine_has_these_names(engine: Engine, host: str) -> None:
    assert (await engine.client.get("/v1/version", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org:8642",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "127.0.0.2",
        "localhost:port",
        "localhost:123456",
        "[::2]",
        "::1",
        "user@localhost",
        "localhost, example.org",
        "",
    ],
)
async def test_another_host_is_refused_even_with_the_token(engine: Engine, host: str) -> None:
    head = f"GET /v1/version HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    assert (await exchange(engine, head.encode())).problem().code in {"host_not_allowed", "bad_header"}


async def test_a_foreign_host_learns_nothing_about_the_token(engine: Engine) -> None:
    head = b"GET /v1/version HTTP/1.1\r\nHost: example.org\r\nAuthorization: Bearer wrong\r\n\r\n"
    assert (await exchange(engine, head)).problem().code == "host_not_allowed"


@pytest.mark.parametrize("host", [b"", b"Host: localhost\r\nHost: example.org\r\n", b"Host: \xff\r\n"])
async def test_no_host_or_two_or_an_unreadable_one_are_refused(engine: Engine, host: bytes) -> None:
    authorization = f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
    answer = await exchange(engine, b"GET /v1/version HTTP/1.1\r\n" + host + authorization)
    assert answer.problem().code in {"bad_header", "host_not_allowed"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/runs", {"GET", "POST"}),
        ("PATCH", "/v1/runs", {"GET", "POST"}),
        ("DELETE", "/v1/runs", {"GET", "POST"}),
        ("POST", "/v1/runs/exec_" + "0" * 32, {"DELETE", "GET"}),
        ("DELETE", f"/v1/runs/exec_{'0' * 32}/record", {"GET"}),
        ("GET", "/v1/plans", {"POST"}),
        ("POST", "/v1/version", {"GET"}),
        ("POST", "/healthz", {"GET"}),
        ("TRACE", "/openapi.json", {"GET"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(engine: Engine, method: str, path: str, allowed: set[str]) -> None:
    answer = await engine.client.request(method, path)
    assert (await problem_of(answer)).code == "method_not_allowed"
    assert set(answer.headers["Allow"].split(", ")) == allowed | {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/version", 200), ("/metrics", 200), ("/v9", 404), ("/v1/plans", 405)]
)
async def test_a_head_request_is_answered_like_get_without_a_body(engine: Engine, path: str, status: int) -> None:
    """RFC 9110, 9.3.2."""
    answer = await engine.client.head(path)
    got = await engine.client.get(path)
    assert (answer.status, got.status) == (status, status)
    assert await answer.read() == b""
    # The others name the method, or the time.
    same = ("Content-Type", "Content-Length") if path == "/v1/version" else ("Content-Type",)
    assert [answer.headers[name] for name in same] == [got.headers[name] for name in same]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/runs/",
        "/v2/runs",
        "/V1/RUNS",
        "//v1/version",
        "/v1/version/",
        "/favicon.ico",
        "/v1%2fversion",
    ],
)
async def test_an_unknown_path_is_not_found(engine: Engine, path: str) -> None:
    answer = await exchange(engine, f"GET {path} HTTP/1.1\r\n".encode() + HEAD + b"\r\n")
    assert answer.problem("GET", path).code == "not_found"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/runs/../../../../etc/passwd",
        "/v1/runs/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/runs/%2e%2e/%2e%2e/etc/passwd",
        "/v1/runs/....//....//etc/passwd",
        "/v1/runs/exec_%00",
        "/v1/runs/%ff%fe",
        "/v1/runs/%zz",
        "/v1/runs/exec_" + "g" * 32,
        "/v1/runs/exec_" + "0" * 31,
        "/v1/runs/exec_" + "0" * 33,
        "/v1/runs/exec_" + "A" * 32,
        "/v1/runs/exec_" + "0" * 32 + "%0a",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_path_leads_nowhere_but_to_executions(engine: Engine, method: str, path: str) -> None:
    answer = await exchange(engine, f"{method} {path} HTTP/1.1\r\n".encode() + HEAD + b"\r\n")
    assert answer.status in {400, 404}
    assert answer.problem(method, path).code in {"bad_parameter", "not_found"}


@pytest.mark.parametrize(
    ("url", "host", "status"),
    [
        ("http://example.org", "localhost", 403),
        ("http://localhost", "example.org", 200),
        ("HTTP://LOCALHOST:8642", "localhost", 200),
        ("http://user@localhost", "localhost", 403),
        ("http://localhost", "a b", 400),
        ("https://localhost", "localhost", 400),
    ],
)
async def test_in_a_whole_url_the_host_of_the_url_decides(engine: Engine, url: str, host: str, status: int) -> None:
    """RFC 9112, 3.2.2."""
    head = f"GET {url}/v1/version HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    assert (await exchange(engine, head.encode())).status == status
