"""The line protocol: what may come in, parsed strictly. What goes out is in `runner.events`."""

import json
import math
from typing import NamedTuple, NoReturn

__all__ = [
    "LINE_BYTES_MAX",
    "PROTOCOL_VERSION",
    "Grammar",
    "Job",
    "Message",
    "RunnerError",
    "Sampling",
    "Setup",
    "is_exit",
    "parse_job",
    "parse_setup",
]

PROTOCOL_VERSION = 1
LINE_BYTES_MAX = 1 << 20

# Bounds of this program, not of the engine's policy: beyond them a value is an error, never a wish.
CONTEXT_TOKENS_MAX = 1 << 20
THREADS_MAX = 512
PATH_CHARS_MAX = 4096
STOP_SEQUENCES_MAX = 16
STOP_CHARS_MAX = 1024
MESSAGES_MAX = 1024
ROLES = ("system", "user", "assistant")
GRAMMAR_KINDS = ("gbnf", "json_schema")
TOP_K_MAX = 1 << 20
TEMPERATURE_MAX = 100.0
REPEAT_PENALTY_MAX = 100.0
# llama.cpp takes 2**32 - 1 (LLAMA_DEFAULT_SEED) as "draw a seed at random".
SEED_MAX = (1 << 32) - 2


class RunnerError(Exception):
    """A failure that the supervisor is told of; the message never holds prompt or output text.

    The codes are protocol_error, model_load_failed, context_failed, out_of_memory, lockdown_failed, context_overflow,
    empty_prompt, template_refused, template_failed, grammar_invalid and decode_failed.
    """

    def __init__(self, code: str, message: str, prompt_tokens: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.prompt_tokens = prompt_tokens


class Setup(NamedTuple):
    """Everything that may be done before the job is known."""

    model_path: str
    context_tokens: int
    threads: int
    batch_tokens: int
    repack: bool


class Sampling(NamedTuple):
    """How a token is chosen; temperature 0 is greedy, top_k 0 is off."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


class Grammar(NamedTuple):
    """What the answer must match."""

    kind: str
    text: str


class Job(NamedTuple):
    """The one job of this process: a prompt or, for the chat template, messages."""

    prompt: str | None
    messages: tuple[Message, ...] | None
    parse_special: bool
    grammar: Grammar | None
    max_tokens: int
    seed: int
    sampling: Sampling
    stop: tuple[str, ...]


def _refuse(message: str) -> NoReturn:
    raise RunnerError("protocol_error", message)


def _unique_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        _refuse("a key occurs twice")
    return unique


def _refuse_constant(_name: str) -> NoReturn:
    _refuse("a number is not finite")


class _Fields:
    """One JSON object whose keys must all be taken, each with its type and bounds."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            _refuse(f"{where} is not an object")
        self._values: dict[str, object] = dict(value)
        self._where = where

    def _take(self, name: str) -> object:
        if name not in self._values:
            _refuse(f"{self._where} lacks {name}")
        return self._values.pop(name)

    def integer(self, name: str, low: int, high: int) -> int:
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            _refuse(f"{name} is not an integer from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        value = self._take(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
            _refuse(f"{name} is not a number from {low} to {high}")
        return float(value)

    def boolean(self, name: str) -> bool:
        value = self._take(name)
        if not isinstance(value, bool):
            _refuse(f"{name} is not a boolean")
        return value

    def text(self, name: str) -> str:
        return _checked_text(self._take(name), name)

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._take(name)
        if not isinstance(values, list):
            _refuse(f"{name} is not a list")
        return tuple(_checked_text(value, name) for value in values)

    def fields(self, name: str) -> "_Fields":
        return _Fields(self._take(name), name)

    def optional_text(self, name: str) -> str | None:
        value = self._take(name)
        return None if value is None else _checked_text(value, name)

    def optional_fields(self, name: str) -> "_Fields | None":
        value = self._take(name)
        return None if value is None else _Fields(value, name)

    def optional_list(self, name: str) -> "list[_Fields] | None":
        values = self._take(name)
        if values is None:
            return None
        if not isinstance(values, list):
            _refuse(f"{name} is not a list")
        return [_Fields(value, name) for value in values]

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in choices:
            _refuse(f"{name} is not one of: {', '.join(choices)}")
        return value

    def end(self) -> None:
        if self._values:
            _refuse(f"{self._where} has {len(self._values)} unknown fields")


def _checked_text(value: object, name: str) -> str:
    if not isinstance(value, str):
        _refuse(f"{name} is not a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        # `from None`: the cause would carry the text.
        raise RunnerError("protocol_error", f"{name} holds an unpaired surrogate") from None
    return value


def _parse(line: bytes, expected_type: str) -> _Fields:
    try:
        document = json.loads(line.decode("utf-8"), object_pairs_hook=_unique_pairs, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RunnerError("protocol_error", f"the {expected_type} line is not JSON") from None
    fields = _Fields(document, expected_type)
    if fields.text("type") != expected_type:
        _refuse(f"a line of type {expected_type} was expected")
    return fields


def parse_setup(line: bytes) -> Setup:
    """Parse the first line.

    Raises:
        RunnerError: protocol_error.
    """
    fields = _parse(line, "setup")
    if fields.integer("protocol", 0, 1 << 16) != PROTOCOL_VERSION:
        _refuse(f"this runner speaks protocol {PROTOCOL_VERSION}")
    setup = Setup(
        model_path=fields.text("model_path"),
        context_tokens=fields.integer("context_tokens", 1, CONTEXT_TOKENS_MAX),
        threads=fields.integer("threads", 1, THREADS_MAX),
        batch_tokens=fields.integer("batch_tokens", 1, CONTEXT_TOKENS_MAX),
        repack=fields.boolean("repack"),
    )
    fields.end()
    if not setup.model_path.startswith("/") or "\0" in setup.model_path:
        _refuse("model_path is not an absolute path")
    if len(setup.model_path) > PATH_CHARS_MAX:
        _refuse(f"model_path is longer than {PATH_CHARS_MAX} characters")
    return setup


def _parse_sampling(fields: _Fields) -> Sampling:
    sampling = Sampling(
        temperature=fields.number("temperature", 0.0, TEMPERATURE_MAX),
        top_k=fields.integer("top_k", 0, TOP_K_MAX),
        top_p=fields.number("top_p", 0.0, 1.0),
        min_p=fields.number("min_p", 0.0, 1.0),
        repeat_penalty=fields.number("repeat_penalty", math.ulp(0.0), REPEAT_PENALTY_MAX),
    )
    fields.end()
    return sampling


def _parse_messages(items: "list[_Fields] | None") -> tuple[Message, ...] | None:
    if items is None:
        return None
    if not 0 < len(items) <= MESSAGES_MAX:
        _refuse(f"messages has none or more than {MESSAGES_MAX} messages")
    messages = []
    for fields in items:
        messages.append(Message(role=fields.choice("role", ROLES), content=fields.text("content")))
        fields.end()
    return tuple(messages)


def _parse_grammar(fields: "_Fields | None") -> Grammar | None:
    if fields is None:
        return None
    grammar = Grammar(kind=fields.choice("kind", GRAMMAR_KINDS), text=fields.text("text"))
    fields.end()
    return grammar


def parse_job(line: bytes) -> Job:
    """Parse the second line.

    Raises:
        RunnerError: protocol_error.
    """
    fields = _parse(line, "job")
    job = Job(
        prompt=fields.optional_text("prompt"),
        messages=_parse_messages(fields.optional_list("messages")),
        parse_special=fields.boolean("parse_special"),
        grammar=_parse_grammar(fields.optional_fields("grammar")),
        max_tokens=fields.integer("max_tokens", 1, CONTEXT_TOKENS_MAX),
        seed=fields.integer("seed", 0, SEED_MAX),
        sampling=_parse_sampling(fields.fields("sampling")),
        stop=fields.texts("stop"),
    )
    fields.end()
    if (job.prompt is None) == (job.messages is None):
        _refuse("the job has both a prompt and messages, or neither")
    if len(job.stop) > STOP_SEQUENCES_MAX:
        _refuse(f"stop has more than {STOP_SEQUENCES_MAX} sequences")
    if not all(0 < len(sequence) <= STOP_CHARS_MAX for sequence in job.stop):
        _refuse(f"a stop sequence is empty or longer than {STOP_CHARS_MAX} characters")
    return job


def is_exit(line: bytes) -> bool:
    """Return whether a line after the job asks the runner to end."""
    try:
        _parse(line, "exit").end()
    except RunnerError:
        return False
    return True
