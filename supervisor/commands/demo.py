"""`weos-engine demo`: prepare everything, execute one request and verify its record; `make run` calls it."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from contracts.api.responses import VersionView
from contracts.verify.bundle import BUNDLE_CHECKS, verify_bundle
from contracts.verify.trust import Trust
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.identity.engine_identity import load_identity
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.adapters.policies import load_policies
from supervisor.client.child_supervisor import child_supervisor
from supervisor.client.choices import choose_backend
from supervisor.client.engine_client import EngineClient
from supervisor.commands.answer_view import execute_and_show
from supervisor.commands.audit.view import show_checks, show_not_proven, show_verdict
from supervisor.commands.setup import DEMO_MODEL, DEMO_QUANTIZATION, prepare
from supervisor.composition import SOURCE_ROOT
from supervisor.console.steps import ConsoleProgress
from supervisor.domain.errors import EngineError

__all__ = ["DEMONSTRATIONS", "accept_terms", "build_demo_request", "command", "fit_to_machine"]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A model, and a question in a language that it speaks."""

    quantization: str
    prompt: str
    terms: str | None
    """Name of the terms of use that the user must accept; None: the model's licence asks nothing of its user."""


DEMONSTRATIONS = {
    # It speaks English only.
    DEMO_MODEL: Demonstration(DEMO_QUANTIZATION, "What is the capital of France?", None),
    # Prompt and quantization of the specification's section 5.
    "gemma3-270m": Demonstration("q4_k_m", "Explique inferência eficiente", "gemma"),
}
TERMS = {
    "gemma": (
        "Google gives its Gemma models to those who accept the Gemma Terms of Use "
        "(https://ai.google.dev/gemma/terms) and the Gemma Prohibited Use Policy "
        "(https://ai.google.dev/gemma/prohibited_use_policy)."
    )
}
REFUSED_LIMIT = "power_limit_unenforceable"


def build_demo_request(model: str, backend: str) -> dict[str, Any]:
    """Return a Run Request in the form of the specification's section 5."""
    demonstration = DEMONSTRATIONS[model]
    return {
        "model": model,
        "prompt": demonstration.prompt,
        "execution": {
            "backend": backend,
            "quantization": demonstration.quantization,
            "scheduler_policy": "default",
            "limits": {"max_tokens": 256, "max_watts": 25},
        },
    }


def fit_to_machine(client: EngineClient, request: dict[str, Any]) -> dict[str, Any]:
    """Return the request without its power limit where this machine cannot keep it, and say so."""
    body = json.dumps(request).encode("utf-8")
    answer = client.ask("POST", "/v1/plans", body, {"Content-Type": "application/json"})
    if answer.document.get("code") == REFUSED_LIMIT:
        limits = request["execution"]["limits"]
        click.echo(f"Without max_watts {limits.pop('max_watts')}: {answer.document['detail']}")
    return request


def accept_terms(home: Home, model: str, accepted: tuple[str, ...]) -> frozenset[str]:
    """Return the accepted terms, after asking for those that a model not yet installed needs.

    Raises:
        EngineError: ``terms_not_accepted``.
    """
    terms = DEMONSTRATIONS[model].terms
    is_installed = any(each.name == model for each in ModelStore(home.models).list())
    if terms is None or terms in accepted or is_installed:
        return frozenset(accepted)
    click.echo(TERMS[terms])
    if sys.stdin.isatty() and click.confirm("Do you accept them?"):
        return frozenset((*accepted, terms))
    detail = f"{model} was not installed; accept its terms with: make run MODEL={model} ACCEPT={terms}"
    raise EngineError("terms_not_accepted", detail)


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
@click.option("--model", type=click.Choice(tuple(DEMONSTRATIONS)), default=DEMO_MODEL, show_default=True)
@click.option(
    "--accept-terms",
    "accepted",
    multiple=True,
    type=click.Choice(tuple(TERMS)),
    help="Accept these terms of use without being asked.",
)
def command(*, model: str, accepted: tuple[str, ...]) -> None:
    """Prepare everything, execute one request through the API and verify its record."""
    home = Home(default_home())
    prepare(home, ConsoleProgress(), model=model, accepted_terms=accept_terms(home, model, accepted))
    client = EngineClient(home)
    with _running_supervisor(client, home):
        request = fit_to_machine(client, build_demo_request(model, choose_backend(client)))
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
