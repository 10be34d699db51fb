"""`weos-engine run`: execute one request through the API; its text as it arrives, its metrics as a table."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, get_args

import click
from click.core import ParameterSource

from contracts.execution.run_request import MAX_GRAMMAR_BYTES, MAX_PROMPT_BYTES, RunRequest
from contracts.wire.errors import ContractError
from contracts.wire.strict_json import decode_json
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home, default_home
from supervisor.client.answers import Answer
from supervisor.client.asking import DEFAULT_SYSTEM, Choices, Turn, build_request
from supervisor.client.choices import Target, choose_target
from supervisor.client.engine_client import EngineClient
from supervisor.commands.answer_view import execute_and_show
from supervisor.console.waiting import show_waiting
from supervisor.domain.errors import EngineError

__all__ = ["command"]

# Options that say what is done with the result; all others describe a request and are of no use beside a whole one.
_OF_THE_RESULT = {"file", "record_file", "bundle_file", "as_json"}
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What stands on the command line."""

    prompt: str | None
    file: Path | None
    messages_file: Path | None
    system: str | None
    model: str | None
    backend: str | None
    quantization: str | None
    prompt_format: str
    grammar_file: Path | None
    schema_file: Path | None
    stop: tuple[str, ...]
    max_tokens: int
    max_watts: float | None
    timeout_s: int | None
    context_tokens: int | None
    scheduler_policy: str
    seed: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    isolation: IsolationTier | None
    record_file: Path | None
    bundle_file: Path | None
    as_json: bool


def _options(function: Callable[..., None]) -> Callable[..., None]:
    """Add what describes a request."""
    options = (
        click.option("--model", help="Name of an installed model; default: the only one."),
        click.option("--quantization", help="Quantization of the model; default: the only one."),
        click.option("--backend", help="Build of llama.cpp; default: the best that is installed and runs here."),
        click.option(
            "--format",
            "prompt_format",
            type=click.Choice(("auto", "chat", "raw")),
            default="auto",
            show_default=True,
            help="chat: the model's chat template turns PROMPT into a question. raw: the model continues PROMPT. "
            "auto: chat where the model has a template.",
        ),
        click.option("--system", help=f"Instruction to the model; default: '{DEFAULT_SYSTEM}'; '' for none."),
        click.option("--messages", "messages_file", type=_FILE, help="A conversation: a JSON array of messages."),
        click.option("--grammar", "grammar_file", type=_FILE, help="A grammar in GBNF that the answer must match."),
        click.option("--json-schema", "schema_file", type=_FILE, help="A JSON Schema that the answer must match."),
        click.option("--stop", multiple=True, help="Text that ends the answer; may be repeated."),
        click.option("--max-tokens", type=int, default=256, show_default=True),
        click.option("--max-watts", type=float, help="Limit of the average power, in watts."),
        click.option("--timeout", "timeout_s", type=int, help="Time limit in seconds."),
        click.option("--context", "context_tokens", type=int, help="Room for prompt and answer together, in tokens."),
        click.option("--temperature", type=float, help="0, the default: always the most probable token."),
        click.option("--seed", type=int, help="Seed of the draw; needs --temperature."),
        click.option("--top-k", type=int, help="Draw only among this number of tokens."),
        click.option("--top-p", type=float, help="Draw only among tokens that have this probability together."),
        click.option("--min-p", type=float, help="Leave out tokens below this fraction of the most probable one."),
        click.option("--scheduler-policy", default="default", show_default=True),
        click.option("--isolation", type=click.Choice(get_args(IsolationTier)), help="Default: the policy's tier."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command(name="run")
@click.argument("prompt", required=False)
@click.option("--request", "file", type=_FILE, help="A whole Run Request in JSON.")
@_options
@click.option("--record", "record_file", type=click.Path(path_type=Path), help="Write the signed record here.")
@click.option("--bundle", "bundle_file", type=click.Path(path_type=Path), help="Write the record with its proofs here.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON on stdout.")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - one parameter per option
    """Execute PROMPT, or a Run Request or a conversation in a file, on the running supervisor.

    Without PROMPT, or with `-`, the prompt is read from standard input.
    """
    given = _Given(**options)
    client = EngineClient(Home(default_home()))
    execute = _execute_as_json if given.as_json else execute_and_show
    if given.file is not None:
        _refuse_beside_a_request(context)
        # One byte more than the API's limit is enough for a refusal; the API judges everything else too.
        view = execute(client, _read_up_to(given.file, RunRequest.MAX_BYTES + 1))
    else:
        asked, choices = _asked(given), _choices(given)
        target = choose_target(client, given.model, given.quantization, given.backend)
        view = _ask(lambda asked: execute(client, build_request(target, asked, choices)), asked, target, given)
    if given.record_file is not None:
        given.record_file.write_bytes(client.get_bytes(view["record"]))
    if given.bundle_file is not None:
        given.bundle_file.write_bytes(client.get_bytes(f"/v1/runs/{view['execution_id']}/bundle"))


def _ask(
    execute: Callable[[str | list[Turn]], dict[str, Any]], asked: str | list[Turn], target: Target, given: _Given
) -> dict[str, Any]:
    """Execute a request; a plain question to a chat model gets the default instruction before it."""
    is_plain = isinstance(asked, str) and given.system is None and given.prompt_format != "raw"
    fits = len(str(asked).encode("utf-8")) + len(DEFAULT_SYSTEM) <= MAX_PROMPT_BYTES
    if not (is_plain and fits and target.has_chat_template):
        return execute(asked)
    try:
        return execute([{"role": "system", "content": DEFAULT_SYSTEM}, {"role": "user", "content": str(asked)}])
    except EngineError as fault:
        if fault.code != "template_refused":
            raise
        click.echo("The model's chat template takes no system message; the question is asked without it.", err=True)
        return execute(asked)


def _execute_as_json(client: EngineClient, request: dict[str, Any] | bytes) -> dict[str, Any]:
    answer = Answer(client)
    with show_waiting(answer.describe_wait):
        view = answer.follow(request, lambda _text: None)
    click.echo(json.dumps(view, indent=1, ensure_ascii=False))
    return view


def _refuse_beside_a_request(context: click.Context) -> None:
    for parameter in context.command.params:
        name = parameter.name or ""
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and name not in _OF_THE_RESULT:
            what = parameter.opts[0] if isinstance(parameter, click.Option) else "PROMPT"
            _refuse(f"{what} has no effect beside --request, whose file says everything; leave out one of the two")


def _asked(given: _Given) -> str | list[Turn]:
    """Return the prompt, or the messages, from where the command line says."""
    if given.messages_file is not None:
        if given.prompt is not None or given.system is not None:
            _refuse("--messages gives the whole conversation; put the question and the system text into its file")
        return _read_messages(given.messages_file)
    prompt = _read_stdin(is_named=given.prompt == "-") if given.prompt in {None, "-"} else given.prompt
    if not prompt:
        _refuse("the prompt is empty; give a PROMPT, or pipe a text into standard input")
    if not given.system:
        return prompt
    if given.prompt_format == "raw":
        _refuse("--system needs a chat template, so it cannot stand beside --format raw")
    return [{"role": "system", "content": given.system}, {"role": "user", "content": prompt}]


def _choices(given: _Given) -> Choices:
    grammar = None
    if given.grammar_file is not None:
        if given.schema_file is not None:
            _refuse("give either --grammar or --json-schema")
        grammar = _decoded(_read_up_to(given.grammar_file, MAX_GRAMMAR_BYTES + 1), given.grammar_file, "a grammar")
    return Choices(
        max_tokens=given.max_tokens,
        max_watts=given.max_watts,
        timeout_s=given.timeout_s,
        context_tokens=given.context_tokens,
        scheduler_policy=given.scheduler_policy,
        isolation=given.isolation,
        prompt_format=given.prompt_format,
        grammar=grammar,
        json_schema=None if given.schema_file is None else _read_schema(given.schema_file),
        stop=given.stop,
        seed=given.seed,
        temperature=given.temperature,
        top_k=given.top_k,
        top_p=given.top_p,
        min_p=given.min_p,
    )


def _read_stdin(*, is_named: bool) -> str:
    """Return standard input without the one line end that `echo` adds."""
    if sys.stdin.isatty():
        if not is_named:
            _refuse(
                'give a PROMPT, such as: weos-engine run "What is the capital of France?"; or pipe a text into '
                "standard input; or hold a conversation with: weos-engine chat"
            )
        click.echo("Type the prompt, then Ctrl-D in an empty line.", err=True)
    data = sys.stdin.buffer.read(MAX_PROMPT_BYTES + 2)
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    if len(data) > MAX_PROMPT_BYTES:
        _refuse(f"standard input has more than {MAX_PROMPT_BYTES} bytes, the maximum of a prompt")
    return _decoded(data, "standard input", "a prompt")


def _read_messages(file: Path) -> list[Turn]:
    messages = _read_json(file)
    if not isinstance(messages, list):
        _refuse(f'{file} is not a JSON array of messages, such as [{{"role": "user", "content": "Hello"}}]')
    return messages


def _read_schema(file: Path) -> dict[str, Any]:
    schema = _read_json(file)
    if not isinstance(schema, dict):
        _refuse(f"{file} is not a JSON Schema: it must be a JSON object")
    return schema


def _read_json(file: Path) -> Any:  # noqa: ANN401 - a JSON document
    try:
        return decode_json(_read_up_to(file, RunRequest.MAX_BYTES + 1), max_bytes=RunRequest.MAX_BYTES)
    except ContractError as error:
        _refuse(f"{file} cannot be read as JSON: {error}")


def _read_up_to(file: Path, size: int) -> bytes:
    with file.open("rb") as reader:
        return reader.read(size)


def _decoded(data: bytes, source: object, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(f"{source} is not UTF-8 at byte {error.start}, so it is not {what}")


def _refuse(message: str) -> NoReturn:
    raise click.UsageError(message)
