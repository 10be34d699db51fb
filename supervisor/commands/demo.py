"""`weos-engine demo`: from nothing to one signed execution, verified; what `make run` calls."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from contracts.responses import VersionView
from contracts.trust import Trust
from contracts.verify import verify_record
from supervisor.adapters.engine_version import development_version
from supervisor.client import EngineClient
from supervisor.commands.run import execute_and_show
from supervisor.commands.setup import DEMO_BACKEND, DEMO_MODEL, DEMO_QUANTIZATION, prepare
from supervisor.commands.verify import show_report
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.errors import EngineError
from supervisor.home import Home, default_home
from supervisor.setup.progress import ConsoleProgress

__all__ = ["command", "demo_request"]

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


def demo_request() -> dict[str, Any]:
    """Return the Run Request of the specification's section 5, with the model that set-up installed."""
    return {
        "model": DEMO_MODEL,
        "prompt": "Explique inferência eficiente",
        "execution": {
            "backend": DEMO_BACKEND,
            "quantization": DEMO_QUANTIZATION,
            "scheduler_policy": "default",
            "limits": {"max_tokens": 256, "max_watts": 25},
        },
    }


@contextmanager
def _running_supervisor(client: EngineClient, log: Path) -> Iterator[None]:
    """Use the supervisor that is running, or start one for as long as the demonstration lasts."""
    if client.is_serving():
        running = VersionView.model_validate_json(client.get_bytes("/v1/version"))
        ours = development_version(SOURCE_ROOT)
        if running.engine_version != ours:
            detail = f"the running supervisor is {running.engine_version}, this tree is {ours}; stop it and run again"
            raise EngineError("engine_version_mismatch", detail)
        click.echo(f"Using the running supervisor, {ours}")
        yield
        return
    click.echo("Starting the supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        command_line = [sys.executable, "-P", "-m", "supervisor", "serve", "--port", "0"]
        process = subprocess.Popen(command_line, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)  # noqa: S603
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not client.is_serving():
            if process.poll() is not None or time.monotonic() > deadline_s:
                tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-10:])
                detail = f"the supervisor did not start; the end of {log}:\n  {tail}"
                raise EngineError("engine_unavailable", detail)
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


@click.command(name="demo")
def command() -> None:
    """Prepare everything, execute the specification's request through the API and verify the record."""
    home = Home(default_home())
    prepare(home, ConsoleProgress())
    client = EngineClient(home)
    with _running_supervisor(client, home.root / "log" / "supervisor.log"):
        request = demo_request()
        click.echo("POST /v1/runs\n" + json.dumps(request, indent=2, ensure_ascii=False) + "\n")
        view = execute_and_show(client, request)
        shape = {name: view[name] for name in ("execution_id", "engine_version", "metrics")}
        click.echo("\nThe answer, in the specification's shape (section 6), with what stands beside it:")
        click.echo(json.dumps(shape, indent=2, ensure_ascii=False))
        record = client.get_bytes(view["record"])
        record_file = home.root / "records" / f"{view['execution_id']}.json"
        record_file.parent.mkdir(exist_ok=True)
        record_file.write_bytes(record)
        click.echo(f"\nVerifying the signed record {record_file}")
        report = verify_record(record, Trust.parse(home.trust_file.read_bytes()))
        show_report(report)
    if report.verdict != "VALID":
        sys.exit(1)
