"""The parsers of hostile bytes, each as a function of bytes that returns, or fails where a parser broke its promise.

What a parser promises: one declared exception or a value, a message that is safe to print, and a value that can be said
again and is then read as the same. The coverage-guided fuzzer and the property tests try the same functions.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import asdict

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel

from contracts.api.problem import PROBLEM_CODES
from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.run_request import RunRequest
from contracts.execution.runner_protocol import (
    MAX_EVENT_BYTES,
    JobCommand,
    PromptEvent,
    RunnerEvent,
    SetupCommand,
    TokenEvent,
    encode_command,
    parse_event,
)
from contracts.ledger.note import Note, Verifier, parse_note
from contracts.ledger.proof import parse_proof
from contracts.verify.bundle import verify_bundle
from contracts.verify.record import CHECKS, verify_record
from contracts.verify.trust import Trust
from contracts.wire.canonical import MAX_SAFE_INTEGER, canonical_bytes
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import Envelope, seal
from contracts.wire.errors import ContractError
from contracts.wire.strict_json import decode_json
from runner.protocol import RunnerError, is_exit, parse_job, parse_setup
from supervisor.adapters.docker.frames import AttachedStream
from supervisor.adapters.identity.keys import FileSigner
from supervisor.adapters.installation.gguf_file import parse_gguf
from supervisor.domain.errors import ExecutionFault, Refusal
from supervisor.domain.models.gguf_head import GgufError
from supervisor.domain.models.judgement import judge_head
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.sandbox.transcript import Transcript
from tests.factories import make_plan, make_trust
from tests.fakes.installation import fixed_installation

__all__ = ["TARGETS", "PlantedFault"]

MAX_BYTES = 1_048_576
OUTPUT_BYTES = 100_000
NOBODY = Trust(schema_version="weos.trust/1", keys=())
SIGNER = FileSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
TRUST = make_trust(SIGNER)
INSTALLATION = fixed_installation()
PLAN = make_plan()


class PlantedFault(Exception):
    """Not a fault of the product: what a fuzzer that works must find."""


def require(condition: bool) -> None:
    """Fail where an exception is not what was promised."""
    assert condition


def _check_refusal(error: ContractError) -> None:
    require(error.code in {"too_large", "malformed_json", "out_of_range", "schema_violation", "weak_key"})
    require(bool(error.errors))
    require(str(error).isprintable())


def _without_nulls(document: bytes) -> dict[str, object]:
    return {name: value for name, value in json.loads(document).items() if value is not None}


def try_json(data: bytes) -> None:
    """What our decoder accepts, the standard library reads alike, and its canonical form means the same."""
    try:
        value = decode_json(data, max_bytes=MAX_BYTES)
    except ContractError as error:
        _check_refusal(error)
        return
    assert value == json.loads(data)
    canonical = canonical_bytes(value)
    assert decode_json(canonical, max_bytes=10 * MAX_BYTES) == value
    assert canonical_bytes(json.loads(canonical)) == canonical


def try_event(data: bytes) -> None:
    """A line of the runner's output."""
    try:
        event = parse_event(data)
    except ContractError as error:
        _check_refusal(error)
        return
    said = event.model_dump_json().encode()
    # Said with every escape spelled out it may be longer than what was read.
    assert len(said) > MAX_EVENT_BYTES or parse_event(said) == event
    assert _without_nulls(said) == _without_nulls(data)
    for already in (0, 1, 2):
        _take(event, already)


def _take(event: RunnerEvent, already: int) -> None:
    """Let a transcript take an event, at its beginning or after some others."""
    transcript = Transcript(PLAN)
    before = (PromptEvent(type="prompt", tokens=5), TokenEvent(type="token", index=0, token_id=7, text="a"))
    try:
        for number, earlier in enumerate(before[:already]):
            transcript.accept(earlier, number)
        if already:
            transcript.accept(event, already)
        else:
            transcript.accept_ready(event)
    except ExecutionFault as fault:
        require(fault.detail.isprintable())


def try_request(data: bytes) -> None:
    """The body of a request, up to its plan."""
    try:
        request = RunRequest.parse(data)
    except ContractError as error:
        _check_refusal(error)
        return
    assert RunRequest.model_validate_json(request.model_dump_json()) == request
    try:
        plan = plan_execution(request, INSTALLATION)
    except Refusal as refusal:
        require(refusal.code in PROBLEM_CODES)
    else:
        assert ExecutionPlan.parse(plan.canonical()) == plan
        assert plan.prompt.size_bytes == len(request.prompt_bytes)


def try_statement(data: bytes) -> None:
    """A statement that the engine's own key has signed: whatever it says, the verifier has a verdict."""
    try:
        statement = json.loads(data)
        predicate = statement["predicate"]
        # Right digests let a changed plan through to the checks behind them.
        predicate["plan_digest"] = sha256_digest(canonical_bytes(predicate["plan"]))
        statement["subject"][0]["digest"]["sha256"] = predicate["plan_digest"].removeprefix("sha256:")
        payload = canonical_bytes(statement)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        payload = data
    report = verify_record(seal(payload, SIGNER), TRUST)
    assert len(report.checks) >= CHECKS.index("signature") + 1
    assert all(check.message.isprintable() for check in report.checks)


def try_record(data: bytes) -> None:
    """A stored record, which nobody whom we trust has signed."""
    assert verify_record(data, NOBODY).verdict != "VALID"
    try:
        envelope = Envelope.parse(data)
    except ContractError as error:
        _check_refusal(error)
        return
    assert Envelope.model_validate_json(envelope.model_dump_json()) == envelope


def try_bundle(data: bytes) -> None:
    """A bundle of a ledger that nobody trusts: there is a verdict, with words that are safe to print."""
    report = verify_bundle(data, TRUST)
    require(report.verdict not in {"VALID", "OK"})
    require(all(check.message.isprintable() for check in report.checks))
    require(all(check.code == "OK" for check in report.checks[:-1]))


def _as_heard(value: object) -> object:
    """A value of the runner's parser, as the contract's JSON has it."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    return tuple(_as_heard(each) for each in value) if isinstance(value, tuple) else value


def _as_said(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return tuple(_as_said(each) for each in value) if isinstance(value, tuple) else value


def try_command(data: bytes) -> None:
    """A line to the runner: its own parser, which shares no code with the supervisor's, reads what that one says."""
    for parse in (parse_setup, parse_job):
        try:
            parse(data)
        except RunnerError as error:
            require(error.code == "protocol_error")
    assert isinstance(is_exit(data), bool)
    for kind, read in ((SetupCommand, parse_setup), (JobCommand, parse_job)):
        try:
            command = kind.parse(data)
        except ContractError as error:
            _check_refusal(error)
            continue
        heard = read(encode_command(command).rstrip(b"\n"))
        for name, value in heard._asdict().items():
            said = getattr(command, name)
            assert _as_heard(value) == _as_said(said), name


def try_stream(data: bytes) -> None:
    """The container engine's stream from frames to the transcript of a job."""
    asyncio.run(_follow(data))


async def _follow(data: bytes) -> None:
    frames = AttachedStream(OUTPUT_BYTES)
    while data:
        room = frames.get_buffer(-1)
        piece, data = data[: len(room)], data[len(room) :]
        room[: len(piece)] = piece
        frames.buffer_updated(len(piece))
    frames.eof_received()
    transcript = Transcript(PLAN)
    try:
        line = await frames.next_line()
        if line is not None:
            transcript.accept_ready(parse_event(line[0]))
        while not transcript.finished and (line := await frames.next_line()) is not None:
            assert len(line[0]) <= OUTPUT_BYTES
            transcript.accept(parse_event(line[0]), line[1])
    except (ExecutionFault, ContractError) as error:
        require(str(error).isprintable())
    assert len(frames.stderr_tail) <= MAX_EVENT_BYTES
    assert len(transcript.measurements().token_times_ns) <= PLAN.limits.max_tokens


def try_gguf(data: bytes) -> None:
    """The head of a model file."""
    try:
        header = judge_head(parse_gguf(data, len(data)))
    except GgufError as error:
        require(str(error).isprintable())
        return
    assert header.context_length >= 1
    assert header.cache.cache_bytes(1_048_576, 65_536) <= MAX_SAFE_INTEGER
    assert header.architecture.isascii()
    shown = asdict(header.description).values()
    assert all(str(each).isprintable() for each in shown)
    assert header.description.parameters == sum(each.elements for each in header.mixture)


def try_proof(data: bytes) -> None:
    """A ledger's note, inclusion proof or verifier key: each has one spelling only, so it is said again as it came."""
    readers: tuple[Callable[[bytes], str], ...] = (
        lambda raw: _spell_note(parse_note(raw)),
        lambda raw: parse_proof(raw)[0].encode(),
        lambda raw: Verifier.parse(raw.decode("utf-8")).encode(),
    )
    for read in readers:
        try:
            said = read(data)
        except ContractError as error:
            _check_refusal(error)
        except UnicodeDecodeError:
            require(read is readers[2])
        else:
            assert said.encode() == data


def _spell_note(note: Note) -> str:
    lines = (f"\u2014 {each.name} {b64encode(each.key_id + each.signature).decode()}\n" for each in note.signatures)
    return f"{note.text}\n{''.join(lines)}"


def try_planted(data: bytes) -> None:
    """Break at an event that differs from every seed in three fields."""
    try_event(data)
    try:
        event = parse_event(data)
    except ContractError:
        return
    if isinstance(event, TokenEvent) and event.index > 0 and event.token_id > 9_999 and not event.text:
        raise PlantedFault


TARGETS: dict[str, Callable[[bytes], None]] = {
    "bundle": try_bundle,
    "command": try_command,
    "event": try_event,
    "gguf": try_gguf,
    "json": try_json,
    "planted": try_planted,
    "proof": try_proof,
    "record": try_record,
    "request": try_request,
    "statement": try_statement,
    "stream": try_stream,
}
