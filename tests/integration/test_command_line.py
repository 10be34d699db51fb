"""The command line as a person or a script uses it."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from supervisor.adapters.home import Home
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api, serving

pytestmark = pytest.mark.docker


def weos(home: Home, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        env={**os.environ, "WEOS_HOME": str(home.root), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
async def served(own_home: Home, docker_host: str) -> AsyncIterator[Api]:
    async with serving(own_home, docker_host) as api:
        yield api


async def call(api: Api, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(weos, api.home, *arguments)


async def test_a_prompt_is_run_and_its_record_verified_offline(served: Api, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    ran = await call(
        served,
        *("run", "What is the capital of France?", "--model", "smollm2-135m-instruct", "--quantization", "q4_1"),
        *("--record", str(record)),
    )
    assert ran.returncode == 0, ran.stderr
    assert "Paris" in ran.stdout
    assert "tokens_per_watt" in ran.stderr
    assert "not measured" in ran.stderr
    verified = await call(served, "audit", "record", str(record))
    assert verified.returncode == 0
    assert verified.stdout.splitlines()[-1] == "VALID"
    data = bytearray(record.read_bytes())
    # Another digit of base64, so that what is wrong is the signature and not the encoding.
    middle = len(data) // 2
    data[middle] = ord("A") if data[middle] != ord("A") else ord("B")
    record.write_bytes(data)
    refused = await call(served, "audit", "record", str(record))
    assert refused.returncode == 1
    assert "FAIL" in refused.stdout
    assert "BAD_SIGNATURE" in refused.stdout


async def test_a_request_in_a_file_is_run_and_printed_as_json(served: Api, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(spec_request()))
    ran = await call(served, "run", "--request", str(file), "--json")
    view = json.loads(ran.stdout)
    assert view["metrics"]["tokens_total"] == 8
    report = tmp_path / "record.json"
    report.write_bytes(await served.get_bytes(view["record"]))
    output = tmp_path / "output.txt"
    output.write_text(view["output"])
    good = await call(served, "audit", "record", str(report), "--output", str(output), "--json")
    assert json.loads(good.stdout)["verdict"] == "VALID"
    output.write_text("another text")
    bad = await call(served, "audit", "record", str(report), "--output", str(output))
    assert (bad.returncode, "OUTPUT_MISMATCH" in bad.stderr) == (1, True)


async def test_an_impossible_power_limit_is_refused_in_one_line(served: Api) -> None:
    ran = await call(
        served, "run", "x", "--model", "smollm2-135m-instruct", "--quantization", "q4_1", "--max-watts", "1"
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("power_limit_unenforceable: ")
    assert "lowest limit" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


async def test_an_unknown_model_is_refused_with_those_that_exist(served: Api) -> None:
    ran = await call(served, "run", "x", "--model", "none", "--quantization", "q4_1")
    assert ran.returncode == 1
    assert "smollm2-135m-instruct" in ran.stderr


def test_without_a_supervisor_the_mend_is_named(own_home: Home) -> None:
    ran = weos(own_home, "run", "x", "--model", "m", "--quantization", "q")
    assert ran.returncode == 1
    assert "make serve" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "x"),
        ("run", "x", "--request", "pyproject.toml"),
        ("run", "--request", "pyproject.toml"),
        ("audit", "record", "pyproject.toml", "--trust", "none.json"),
        ("audit", "record", "pyproject.toml", "--trust", "pyproject.toml"),
        ("models", "verify", "none"),
        ("models", "remove", "none"),
        ("images", "build", "none"),
        ("nonsense",),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_told_without_a_traceback(own_home: Home, arguments: tuple[str, ...]) -> None:
    ran = weos(own_home, *arguments)
    assert ran.returncode != 0
    assert ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_home_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = weos(Home(tmp_path / "file" / "home"), "serve")
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert str(tmp_path) in ran.stderr


def test_models_are_added_listed_verified_and_removed(tmp_path: Path, own_home: Home) -> None:
    blob = next((own_home.root / "models").resolve().glob("*/model.gguf"))
    home = Home(tmp_path / "fresh")
    wrong = weos(home, "models", "add", "demo", str(blob), "--quantization", "q8_0")
    assert wrong.returncode == 1
    assert "quantization is q4_1, not q8_0" in wrong.stderr
    added = weos(home, "models", "add", "demo", str(blob), "--quantization", "q4_1", "--architecture", "llama")
    assert added.returncode == 0, added.stderr
    assert "demo" in weos(home, "models", "list").stdout
    assert weos(home, "models", "verify", "demo").returncode == 0
    copy = next(home.models.glob("*/model.gguf"))
    copy.chmod(0o644)
    with copy.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\0\0")
    altered = weos(home, "models", "verify", "demo")
    assert (altered.returncode, "model_altered" in altered.stderr) == (1, True)
    assert weos(home, "models", "remove", "demo").returncode == 0
    assert list(home.models.glob("*/model.gguf")) == []


@pytest.mark.gvisor
async def test_a_tier_is_chosen_on_the_command_line(served: Api) -> None:
    ran = await call(
        served,
        *("run", "Olá", "--model", "smollm2-135m-instruct", "--quantization", "q4_1"),
        *("--max-tokens", "2", "--isolation", "gvisor", "--json"),
    )
    assert ran.returncode == 0, ran.stderr
    record = await served.get(json.loads(ran.stdout)["record"])
    statement = json.loads(base64.b64decode(record["payload"]))
    assert statement["predicate"]["plan"]["isolation"] == "gvisor"


async def test_a_token_counts_and_is_revoked_while_the_supervisor_runs(served: Api) -> None:
    made = await call(served, "token", "create", "experimenter", "--name", "on-the-fly")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    authorized = {"Authorization": f"Bearer {token}"}
    async with served.session.get("/v1/runs", headers=authorized) as answer:
        assert (answer.status, await answer.json()) == (200, {"runs": [], "next": None})
    listed = await call(served, "token", "list")
    assert "on-the-fly" in listed.stdout
    assert token not in listed.stdout
    assert (await call(served, "token", "revoke", "on-the-fly")).returncode == 0
    async with served.session.get("/v1/runs", headers=authorized) as answer:
        assert answer.status == 401
    assert (await call(served, "token", "create", "experimenter", "--name", "on-the-fly")).returncode == 1


@pytest.mark.gvisor
def test_a_tier_that_is_there_is_not_set_up_again(own_home: Home) -> None:
    ran = weos(own_home, "gvisor")
    assert ran.returncode == 0, ran.stderr
    assert "unchanged, nothing to do" in ran.stderr


def test_the_doctor_says_what_can_and_cannot_be_done(own_home: Home) -> None:
    ran = weos(own_home, "doctor")
    assert ran.returncode == 0, ran.stdout
    for word in ("container engine", "control groups", "RAPL", "NVML", "cpu_avx2", "tier hardened", "tier gvisor"):
        assert word in ran.stdout


def test_the_doctor_says_that_nothing_can_be_executed_without_an_engine(own_home: Home) -> None:
    ran = weos(own_home, "doctor", DOCKER_HOST="unix:///nowhere.sock")
    assert ran.returncode == 1
    assert "none answers" in ran.stdout


def test_the_doctor_says_that_nothing_can_be_executed_in_an_empty_home(tmp_path: Path) -> None:
    ran = weos(Home(tmp_path / "empty"), "doctor")
    assert ran.returncode == 1
    assert "nothing can be executed" in ran.stdout


def test_every_backend_is_listed_with_its_image_or_the_mend(own_home: Home) -> None:
    listed = weos(own_home, "images", "list").stdout
    assert "sha256:" in listed
    assert "weos-engine images build cpu_avx512" in listed


def test_verifying_loads_nothing_but_the_contracts(own_home: Home) -> None:
    code = (
        "import sys, click.testing, supervisor.cli as cli\n"
        "click.testing.CliRunner().invoke(cli._root, ['verify', '--help'])\n"
        "heavy = {'docker', 'aiohttp', 'rich', 'psutil', 'gguf', 'numpy', 'pynvml', 'requests'} & set(sys.modules)\n"
        "ours = {name for name in sys.modules if name.startswith(('supervisor.domain', 'supervisor.adapters'))}\n"
        "sys.exit(str(heavy | ours) if heavy | ours else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    del own_home


def test_setup_has_nothing_to_do_the_second_time(weos_home: Path) -> None:
    ran = weos(Home(weos_home), "setup")
    assert ran.returncode == 0, ran.stderr
    assert "Ready" in ran.stdout


def test_the_demonstration_runs_from_the_command_line(weos_home: Path, own_home: Home) -> None:
    # On a home of its own, so that a supervisor of the installation itself is left alone.
    (own_home.root / "cache").symlink_to(weos_home / "cache")
    ran = weos(own_home, "demo")
    assert ran.returncode == 0, ran.stderr
    assert "VALID" in ran.stdout.splitlines()
    assert '"tokens_per_watt"' in ran.stdout
    assert "Paris" in ran.stdout
