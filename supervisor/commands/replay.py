"""`weos-engine audit replay`: repeat an execution on the engine of this home and compare the outputs.

Unlike the other audit commands, this one needs a running execution engine that the auditor trusts to compute.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import click

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord, Statement
from contracts.execution.run_request import RunRequest
from contracts.ledger.bundle import Bundle
from contracts.verify.bundle import verify_bundle
from contracts.verify.replay import (
    ReplayInput,
    ReplayVerdict,
    build_request,
    find_differences,
    judge_replay,
    refuse_record,
)
from contracts.wire.document import sha256_digest
from contracts.wire.errors import ContractError
from supervisor.adapters.home import Home, default_home
from supervisor.client.engine_client import EngineClient
from supervisor.commands.audit.files import TRUST_OPTION, read_bounded, read_trust
from supervisor.console.bar import show_progress
from supervisor.domain.errors import EngineError

__all__ = ["command"]

COLOURS = {"REPRODUCED": "green", "DIVERGED": "red", "NOT_REPLAYABLE": "yellow"}


def _read_whole(file: Path, limit: int, what: str) -> bytes:
    data = read_bounded(file, limit)
    if len(data) > limit:
        message = f"{what} {file} has more than {limit} bytes, the maximum of an execution"
        raise click.ClickException(message)
    return data


def _read_record(client: EngineClient, path: str) -> MetricsRecord:
    envelope = json.loads(client.get_bytes(path))
    return Statement.parse(base64.b64decode(envelope["payload"])).predicate


def _execute(client: EngineClient, request: bytes) -> tuple[MetricsRecord, list[str]]:
    pieces: list[str] = []
    view: dict[str, Any] | None = None
    with show_progress("repeating tokens") as bar:
        for event in client.stream_run(request):
            if event.name == "token":
                pieces.append(event.document["text"])
                bar.step()
            elif event.name in {"done", "error"}:
                view = event.document
    if view is None or "execution_id" not in view:
        raise EngineError("engine_unavailable", "the supervisor ended the stream without a result; see its log")
    return _read_record(client, f"/v1/runs/{view['execution_id']}/record"), pieces


def replay(
    client: EngineClient, original: MetricsRecord, given: ReplayInput, original_output: str | None
) -> ReplayVerdict:
    """Repeat an execution.

    Args:
        client: speaks to the engine that repeats the execution.
        original: a verified record.
        given: the texts that the record names by digest.
        original_output: the output of the original; None means that the auditor does not have it.
    """
    refused = refuse_record(original, given)
    if refused is not None:
        return ReplayVerdict("NOT_REPLAYABLE", refused)
    request = build_request(original.plan, given).model_dump_json().encode("utf-8")
    answer = client.ask("POST", "/v1/plans", request, {"Content-Type": "application/json"})
    if answer.status != 200:  # noqa: PLR2004 - HTTP's OK
        problem = answer.document
        return ReplayVerdict(
            "NOT_REPLAYABLE", f"this installation refuses the request: {problem['code']}, {problem['detail']}"
        )
    planned = ExecutionPlan.parse(json.dumps(answer.document["plan"]).encode("utf-8"))
    differences = find_differences(original.plan, planned)
    if differences:
        return ReplayVerdict("NOT_REPLAYABLE", f"this installation has other artifacts: {'; '.join(differences)}")
    try:
        replayed, pieces = _execute(client, request)
    except EngineError as fault:
        return ReplayVerdict("NOT_REPLAYABLE", f"the execution was not repeated: {fault.code}, {fault.detail}")
    return judge_replay(original, replayed, pieces=pieces, original_output=original_output)


@click.command(name="replay")
@click.argument("bundle_file", metavar="BUNDLE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--prompt",
    "prompt_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The prompt, byte for byte, or the messages as a JSON array; records contain their digest only.",
)
@click.option(
    "--grammar",
    "grammar_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The grammar or JSON Schema of the request, if it had one.",
)
@TRUST_OPTION
@click.option(
    "--output",
    "output_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The original's output; with it, a difference is located by token.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def command(
    *,
    bundle_file: Path,
    prompt_file: Path,
    grammar_file: Path | None,
    trust_file: Path,
    output_file: Path | None,
    as_json: bool,
) -> None:
    """Repeat the execution of BUNDLE on the running engine and compare. Exit status 0 only for REPRODUCED."""
    data = _read_whole(bundle_file, Bundle.MAX_BYTES, "the bundle")
    report = verify_bundle(data, read_trust(trust_file))
    if report.verdict != "VALID" or report.record is None:
        message = f"the bundle is not valid ({report.verdict}); see why with: weos-engine audit verify {bundle_file}"
        raise click.ClickException(message)
    # A conversation is JSON, whose escapes and names take more room than its texts.
    prompt = _read_whole(prompt_file, RunRequest.MAX_BYTES, "the prompt")
    grammar = None if grammar_file is None else _read_whole(grammar_file, RunRequest.MAX_BYTES, "the grammar")
    original_output = None
    if output_file is not None:
        output = output_file.read_bytes()
        if report.record.output is None or sha256_digest(output) != report.record.output.sha256:
            message = f"{output_file} is not the output of this record"
            raise click.ClickException(message)
        original_output = output.decode("utf-8")
    try:
        verdict = replay(
            EngineClient(Home(default_home())), report.record, ReplayInput(prompt, grammar), original_output
        )
    except (EngineError, ContractError) as error:
        verdict = ReplayVerdict("NOT_REPLAYABLE", f"the engine cannot be reached: {error}")
    if as_json:
        click.echo(json.dumps({"verdict": verdict.code, "token": verdict.token, "message": verdict.message}))
    else:
        click.echo(f"{click.style(verdict.code, fg=COLOURS[verdict.code], bold=True)}: {verdict.message}")
    if verdict.code != "REPRODUCED":
        sys.exit(1)
