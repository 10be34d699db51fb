"""`weos-engine chat`: a conversation; each turn is one execution in a sandbox of its own, with the whole history."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from contracts.execution.run_request import MAX_PROMPT_BYTES
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home, default_home
from supervisor.client.asking import DEFAULT_SYSTEM, Choices, build_request
from supervisor.client.choices import Target, choose_backend, choose_model
from supervisor.client.conversation import Conversation
from supervisor.client.engine_client import EngineClient
from supervisor.commands.answer_view import AnswerView
from supervisor.domain.errors import EngineError

__all__ = ["command"]

PROMPT = "> "
HELP = """\
/system TEXT    instruct the model from now on; without TEXT: no instruction
/reset          forget the conversation
/save FILE      write the conversation to a new file, as JSON
/record [FILE]  name the last execution's record, or write it to a new file
/quit           end, as Ctrl-D does
Ctrl-C          cancel the answer that is coming
Everything else is a question; one that begins with / needs a space before it."""
OVERFLOW = (
    "The whole conversation goes to the model with each question. Begin again with /reset, or start with a larger "
    "--context or a smaller --max-tokens."
)
OK = 200

Follow = Callable[[str], None]


class _Chat:
    """One conversation with one model."""

    def __init__(self, client: EngineClient, target: Target, choices: Choices, conversation: Conversation) -> None:
        self._client = client
        self._target = target
        self._choices = choices
        self._conversation = conversation
        self._last: str | None = None
        # The default instruction is dropped where the model's template takes none.
        self._may_drop_instruction = conversation.instruction == DEFAULT_SYSTEM
        self._commands: dict[str, Follow] = {
            "/help": lambda _words: _tell(HELP),
            "/record": self._show_record,
            "/reset": self._reset,
            "/save": self._save,
            "/system": self._instruct,
        }

    def obey(self, line: str) -> None:
        """Follow a command."""
        name, _, words = line.partition(" ")
        follow = self._commands.get(name)
        if follow is None:
            _tell(f"there is no command {name}; /help lists them")
            return
        try:
            follow(words.strip())
        except (OSError, EngineError) as error:
            _tell(str(error))

    def ask(self, question: str) -> None:
        """Execute one turn and keep it; a turn without an answer is not kept.

        Raises:
            EngineError: the request was refused or did not complete.
            KeyboardInterrupt: the answer was cancelled.
        """
        try:
            done = self._execute(question)
        except EngineError as fault:
            if fault.code != "template_refused" or not self._may_drop_instruction:
                raise
            self._conversation.instruct(None)
            _tell("the model's chat template takes no system message; the question is asked without it")
            done = self._execute(question)
        # A later refusal is about the conversation, not about the instruction.
        self._may_drop_instruction = False
        _tell(_summary(done))
        if done["output"]:
            self._conversation.keep(question, done["output"])

    def _execute(self, question: str) -> dict[str, Any]:
        view = AnswerView(self._client)
        request = build_request(self._target, self._conversation.with_question(question), self._choices)
        try:
            return view.show(request)
        except KeyboardInterrupt:
            self._cancel(view.execution_id)
            raise
        finally:
            self._last = view.execution_id or self._last

    def _cancel(self, execution_id: str | None) -> None:
        # Closing the stream has cancelled it; this waits until its record is kept.
        if execution_id is None:
            return
        answer = self._client.ask("DELETE", f"/v1/runs/{execution_id}")
        how = "cancelled, its record is kept" if answer.status == OK else str(answer.document["detail"])
        _tell(f"{execution_id}  {how}; the question is not part of the conversation")

    def _reset(self, _words: str) -> None:
        self._conversation.reset()
        _tell("the conversation is forgotten")

    def _instruct(self, words: str) -> None:
        self._conversation.instruct(words or None)
        self._may_drop_instruction = False
        _tell("the model is instructed from the next question on" if words else "the model has no instruction")

    def _save(self, words: str) -> None:
        if not words or not self._conversation.has_turns:
            _tell("there is nothing to save yet" if words else "name a file: /save FILE")
            return
        _write_new(words, json.dumps(self._conversation.messages, indent=1, ensure_ascii=False).encode("utf-8") + b"\n")

    def _show_record(self, words: str) -> None:
        if self._last is None:
            _tell("nothing was executed yet")
            return
        path = f"/v1/runs/{self._last}/record"
        if not words:
            _tell(f"{path} in the API; /record FILE writes it to a file for: weos-engine audit record FILE")
            return
        _write_new(words, self._client.get_bytes(path))


def _write_new(name: str, content: bytes) -> None:
    path = Path(name).expanduser()
    with path.open("xb") as file:
        file.write(content)
    _tell(f"{path} is written")


def _summary(done: dict[str, Any]) -> str:
    metrics = done["metrics"]
    tokens, rate = metrics["tokens_total"], metrics["tokens_per_sec"]
    speed = "" if rate is None else f", {rate:.1f} tokens/s"
    end = "; cut off by --max-tokens" if metrics["finish_reason"] == "length" else ""
    return f"{done['execution_id']}  {tokens} tokens{speed}{end}"


def _tell(text: str) -> None:
    click.secho(text, err=True, dim=True)


def _is_at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _hold_at_terminal(chat: _Chat) -> None:
    """Take lines from a person; an error ends the turn, and the conversation goes on."""
    # Loaded only here: it changes `input`, which then edits lines and remembers them until the end.
    import readline  # noqa: F401, PLC0415 - its import is its effect

    while True:
        try:
            line = input(PROMPT)
            if line.strip() == "/quit":
                return
            if line.startswith("/"):
                chat.obey(line)
            elif line.strip():
                _ask_person(chat, line.strip())
        except KeyboardInterrupt:
            click.echo(err=True)
        except UnicodeDecodeError:
            _tell("the line is not UTF-8; write it again")
        except EOFError:
            click.echo(err=True)
            return


def _ask_person(chat: _Chat, question: str) -> None:
    if len(question.encode("utf-8", "replace")) > MAX_PROMPT_BYTES:
        _tell(f"the question has more than {MAX_PROMPT_BYTES} bytes, the maximum; ask a shorter one")
        return
    try:
        chat.ask(question)
    except KeyboardInterrupt:
        return
    except EngineError as error:
        click.echo(f"{error.code}: {error}", err=True)
        if error.code == "context_overflow":
            click.echo(OVERFLOW, err=True)


def _hold_through_pipe(chat: _Chat) -> None:
    """Take one question a line; the first error ends the conversation. There are no commands: text is only text.

    Raises:
        EngineError: like `_Chat.ask`.
    """
    number = 0
    while data := sys.stdin.buffer.readline(MAX_PROMPT_BYTES + 2):
        number += 1
        data = data.rstrip(b"\r\n")
        if len(data) > MAX_PROMPT_BYTES:
            message = f"line {number} has more than {MAX_PROMPT_BYTES} bytes, the maximum of a question"
            raise click.ClickException(message)
        try:
            question = data.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            message = f"line {number} is not UTF-8 at byte {error.start}"
            raise click.ClickException(message) from error
        if question:
            _ask_of_pipe(chat, question)


def _ask_of_pipe(chat: _Chat, question: str) -> None:
    try:
        chat.ask(question)
    except EngineError as error:
        if error.code == "context_overflow":
            detail = f"{error} The whole conversation goes to the model with each question; ask in fewer lines."
            raise EngineError(error.code, detail) from error
        raise


@click.command(name="chat")
@click.option("--model", help="Name of an installed model; default: the only one.")
@click.option("--quantization", help="Quantization of the model; default: the only one.")
@click.option("--backend", help="Build of llama.cpp; default: the best that is installed and runs here.")
@click.option("--system", default=DEFAULT_SYSTEM, show_default=True, help="Instruction to the model; '' for none.")
@click.option("--max-tokens", type=int, default=512, show_default=True, help="Limit of each answer.")
@click.option("--context", "context_tokens", type=int, help="Room for the conversation, in tokens.")
@click.option("--temperature", type=float, help="0, the default: always the most probable token.")
@click.option("--seed", type=int, help="Seed of the draw; needs --temperature.")
@click.option("--isolation", type=click.Choice(get_args(IsolationTier)), help="Default: the policy's tier.")
def command(
    *,
    model: str | None,
    quantization: str | None,
    backend: str | None,
    system: str,
    **choices: Any,  # noqa: ANN401 - the options that are passed on
) -> None:
    """Hold a conversation with a model; through a pipe, each line is a question.

    Each answer is an execution of its own, in a new sandbox that gets the whole conversation.
    """
    client = EngineClient(Home(default_home()))
    chosen = choose_model(client, model, quantization)
    if chosen.chat_template is None:
        detail = (
            f"the file of {chosen.name} carries no chat template, so the model cannot tell question from answer; let "
            "it continue a text with: weos-engine run"
        )
        raise EngineError("chat_template_missing", detail)
    target = Target(chosen.name, chosen.quantization, backend or choose_backend(client), has_chat_template=True)
    chat = _Chat(client, target, Choices(**choices), Conversation(system or None))
    if not _is_at_terminal():
        _hold_through_pipe(chat)
        return
    _tell(f"{target.model} {target.quantization} on {target.backend}. /help lists the commands, Ctrl-D ends.")
    _hold_at_terminal(chat)
