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
from supervisor.client.asking import DEFAULT_SYSTEM, Turn
from supervisor.client.choices import choose_backend
from supervisor.client.engine_client import EngineClient
from supervisor.commands.answer_view import execute_and_show
from supervisor.commands.audit.view import show_checks, show_not_proven, show_verdict
from supervisor.commands.setup import DEMO_MODEL, Prepared, prepare
from supervisor.commands.supervising import own_supervisor
from supervisor.composition import SOURCE_ROOT
from supervisor.console.steps import ConsoleProgress
from supervisor.domain.errors import EngineError
from supervisor.setup.models.catalogue import GEMMA_3_270M, SMOLLM2_135M_INSTRUCT, CarriedModel

__all__ = ["DEMONSTRATIONS", "accept_terms", "build_demo_request", "command", "fit_to_machine"]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A model, and a question in a language that it speaks."""

    model: CarriedModel
    asked: str | list[Turn]
    """The prompt, or the messages of a conversation."""


DEMONSTRATIONS = {
    # It speaks English only. Without a system message its template writes one with which its answers are worse.
    SMOLLM2_135M_INSTRUCT.name: Demonstration(
        SMOLLM2_135M_INSTRUCT,
        [
            {"role": "system", "content": DEFAULT_SYSTEM},
            {"role": "user", "content": "What is the capital of France?"},
        ],
    ),
    # Prompt and quantization of the specification's section 5.
    GEMMA_3_270M.name: Demonstration(GEMMA_3_270M, "Explique inferência eficiente"),
}
TERMS = tuple(each.model.terms.key for each in DEMONSTRATIONS.values() if each.model.terms is not None)
REFUSED_LIMIT = "power_limit_unenforceable"


def build_demo_request(model: str, backend: str) -> dict[str, Any]:
    """Return a Run Request with the limits of the specification's section 5."""
    demonstration = DEMONSTRATIONS[model]
    asked = demonstration.asked
    return {
        "model": model,
        "prompt" if isinstance(asked, str) else "messages": asked,
        "execution": {
            "backend": backend,
            "quantization": demonstration.model.quantization,
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
    terms = DEMONSTRATIONS[model].model.terms
    is_installed = any(each.name == model for each in ModelStore(home.models).list())
    if terms is None or terms.key in accepted or is_installed:
        return frozenset(accepted)
    click.echo(f"{model} may be used only by those who accept its terms. {terms.text}")
    if sys.stdin.isatty() and click.confirm("Do you accept them?"):
        return frozenset((*accepted, terms.key))
    detail = f"{model} was not installed; accept its terms with: make run MODEL={model} ACCEPT={terms.key}"
    raise EngineError("terms_not_accepted", detail)


@contextmanager
def _running_supervisor(client: EngineClient, prepared: Prepared) -> Iterator[None]:
    """Use the running supervisor, or start one for the length of the demonstration."""
    if client.is_serving():
        running = VersionView.model_validate_json(client.get_bytes("/v1/version"))
        policies = load_policies(SOURCE_ROOT / "policies")
        ours = load_identity(prepared.home, SOURCE_ROOT, policies.digests).engine_version
        if running.engine_version != ours:
            detail = f"the running supervisor is {running.engine_version}, but this tree is {ours}; stop it and repeat"
            raise EngineError("engine_version_mismatch", detail)
        click.echo(f"Using the running supervisor, {ours}")
        yield
        return
    click.echo(f"Starting the supervisor{'' if prepared.contained is None else ', in a container'}")
    with own_supervisor(client, prepared.home, prepared.contained):
        yield


@click.command(name="demo")
@click.option("--model", type=click.Choice(tuple(DEMONSTRATIONS)), default=DEMO_MODEL, show_default=True)
@click.option(
    "--accept-terms",
    "accepted",
    multiple=True,
    type=click.Choice(TERMS),
    help="Accept these terms of use without being asked.",
)
def command(*, model: str, accepted: tuple[str, ...]) -> None:
    """Prepare everything, execute one request through the API and verify its record."""
    home = Home(default_home())
    prepared = prepare(home, ConsoleProgress(), model=model, accepted_terms=accept_terms(home, model, accepted))
    client = EngineClient(home)
    with _running_supervisor(client, prepared):
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
