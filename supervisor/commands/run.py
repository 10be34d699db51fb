"""`weos-engine run`: execute one request through the API; its text as it arrives, its metrics as a table."""

import json
import sys
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console
from rich.table import Table

from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home, default_home
from supervisor.client.engine_client import EngineClient
from supervisor.domain.errors import EngineError

__all__ = ["command", "execute_and_show"]

MAX_REQUEST_BYTES = 1_048_576


def _printable(text: str) -> str:
    # A terminal obeys control characters, and a model may emit them; a pipe gets the text unchanged.
    if not sys.stdout.isatty():
        return text
    return "".join(each if each in "\n\t" or each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def _show_metrics(view: dict[str, Any]) -> None:
    click.echo(f"{view['execution_id']}  {view['status']}", err=True)
    table = Table(show_header=False)
    metrics = view["metrics"] or {}
    unmeasured = metrics.get("unmeasured", {})
    for name, value in metrics.items():
        if name == "unmeasured":
            continue
        shown = f"not measured: {unmeasured.get(name, '')}" if value is None else str(value)
        table.add_row(name, shown)
    if metrics.get("watts_source") == "model":
        table.caption = "watts are modelled from CPU time and a declared table, not measured"
    Console(stderr=True).print(table)


def execute_and_show(client: EngineClient, request: dict[str, Any] | bytes) -> dict[str, Any]:
    """Execute a request, print its text as it arrives and its metrics at the end; return the execution.

    Raises:
        EngineError: the request was refused or did not complete.
    """
    for event in client.stream_run(request):
        if event.name == "token":
            click.echo(_printable(event.document["text"]), nl=False)
            sys.stdout.flush()
        elif event.name == "error":
            click.echo()
            raise EngineError(event.document["code"], event.document["detail"])
        elif event.name == "done":
            click.echo()
            _show_metrics(event.document)
            return event.document
    raise EngineError("engine_unavailable", "the supervisor ended the stream without a result; see its log")


def _read_request(file: Path) -> bytes:
    # One byte more than the API's limit is enough for a refusal; the API judges everything else too.
    with file.open("rb") as reader:
        return reader.read(MAX_REQUEST_BYTES + 1)


@click.command(name="run")
@click.argument("prompt", required=False)
@click.option("--request", "file", type=click.Path(exists=True, path_type=Path), help="A Run Request in JSON.")
@click.option("--model", help="Name of an installed model.")
@click.option("--backend", default="cpu_avx2", show_default=True)
@click.option("--quantization", help="Quantization of the model.")
@click.option("--scheduler-policy", default="default", show_default=True)
@click.option("--max-tokens", type=int, default=256, show_default=True)
@click.option("--max-watts", type=float, help="Limit of the average power, in watts.")
@click.option("--isolation", type=click.Choice(get_args(IsolationTier)), help="Isolation tier; default: the policy's.")
@click.option("--record", "record_file", type=click.Path(path_type=Path), help="Write the signed record here.")
@click.option(
    "--bundle",
    "bundle_file",
    type=click.Path(path_type=Path),
    help="Write the record with its proofs here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON on stdout.")
def command(  # noqa: PLR0913 - one parameter per option
    *,
    prompt: str | None,
    file: Path | None,
    model: str | None,
    backend: str,
    quantization: str | None,
    scheduler_policy: str,
    max_tokens: int,
    max_watts: float | None,
    isolation: IsolationTier | None,
    record_file: Path | None,
    bundle_file: Path | None,
    as_json: bool,
) -> None:
    """Execute PROMPT, or the Run Request in a file, on the running supervisor."""
    if (prompt is None) == (file is None):
        message = "give either a PROMPT or --request FILE"
        raise click.UsageError(message)
    request: dict[str, Any] | bytes
    if file is not None:
        request = _read_request(file)
    elif model is None or quantization is None:
        message = "a PROMPT needs --model and --quantization; see: weos-engine models list"
        raise click.UsageError(message)
    else:
        limits: dict[str, Any] = {"max_tokens": max_tokens}
        if max_watts is not None:
            limits["max_watts"] = max_watts
        request = {
            "model": model,
            "prompt": prompt,
            "execution": {
                "backend": backend,
                "quantization": quantization,
                "scheduler_policy": scheduler_policy,
                "limits": limits,
                "isolation": isolation,
            },
        }
    client = EngineClient(Home(default_home()))
    view = _execute_quietly(client, request) if as_json else execute_and_show(client, request)
    if as_json:
        click.echo(json.dumps(view, indent=1, ensure_ascii=False))
    if record_file is not None:
        record_file.write_bytes(client.get_bytes(view["record"]))
    if bundle_file is not None:
        bundle_file.write_bytes(client.get_bytes(f"/v1/runs/{view['execution_id']}/bundle"))


def _execute_quietly(client: EngineClient, request: dict[str, Any] | bytes) -> dict[str, Any]:
    for event in client.stream_run(request):
        if event.name == "error":
            raise EngineError(event.document["code"], event.document["detail"])
        if event.name == "done":
            return event.document
    raise EngineError("engine_unavailable", "the supervisor ended the stream without a result; see its log")
