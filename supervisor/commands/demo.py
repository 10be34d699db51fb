"""`weos-engine demo`: prepare everything, execute one request and verify its record; `make run` calls it."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from contracts.api.responses import VersionView
from contracts.verify.bundle import BUNDLE_CHECKS, verify_bundle
from contracts.verify.trust import Trust
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.identity.engine_identity import load_identity
from supervisor.adapters.policies import load_policies
from supervisor.client.child_supervisor import child_supervisor
from supervisor.client.engine_client import EngineClient
from supervisor.commands.audit.view import show_checks, show_not_proven, show_verdict
from supervisor.commands.run import execute_and_show
from supervisor.commands.setup import DEMO_BACKEND, DEMO_MODEL, DEMO_QUANTIZATION, prepare
from supervisor.composition import SOURCE_ROOT
from supervisor.console.steps import ConsoleProgress
from supervisor.domain.errors import EngineError

__all__ = ["command"]


def demo_request() -> dict[str, Any]:
    """Return the Run Request of the specification's section 5, with the model of set-up."""
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
def _running_supervisor(client: EngineClient, home: Home) -> Iterator[None]:
    """Use the running supervisor, or start one for the length of the demonstration."""
    if client.is_serving():
        running = VersionView.model_validate_json(client.get_bytes("/v1/version"))
        policies = load_policies(SOURCE_ROOT / "policies")
        ours = load_identity(home, SOURCE_ROOT, policies.digests).engine_version
        if running.engine_version != ours:
            detail = f"the running supervisor is {running.engine_version}, but this tree is {ours}; stop it and repeat"
            raise EngineError("engine_version_mismatch", detail)
        click.echo(f"Using the running supervisor, {ours}")
        yield
        return
    click.echo("Starting the supervisor")
    with child_supervisor(client, home.root / "log" / "supervisor.log"):
        yield


@click.command(name="demo")
def command() -> None:
    """Prepare everything, execute the specification's request through the API and verify the record."""
    home = Home(default_home())
    prepare(home, ConsoleProgress())
    client = EngineClient(home)
    with _running_supervisor(client, home):
        request = demo_request()
        click.echo("POST /v1/runs\n" + json.dumps(request, indent=2, ensure_ascii=False) + "\n")
        view = execute_and_show(client, request)
        shape = {name: view[name] for name in ("execution_id", "engine_version", "metrics")}
        click.echo("\nThe answer, in the form of the specification's section 6:")
        click.echo(json.dumps(shape, indent=2, ensure_ascii=False))
        bundle = client.get_bytes(f"/v1/runs/{view['execution_id']}/bundle")
        bundle_file = home.root / "records" / f"{view['execution_id']}.bundle.json"
        bundle_file.parent.mkdir(exist_ok=True)
        bundle_file.write_bytes(bundle)
        click.echo(f"\nVerifying the signed record with its proofs: {bundle_file}")
        report = verify_bundle(bundle, Trust.parse(home.trust_file.read_bytes()))
        show_checks(report.checks, BUNDLE_CHECKS)
        show_not_proven(report.not_proven)
        show_verdict(report.verdict)
        click.echo(f"Verify it again, on any machine: weos-engine audit verify {bundle_file} --trust {home.trust_file}")
    if report.verdict != "VALID":
        sys.exit(1)
