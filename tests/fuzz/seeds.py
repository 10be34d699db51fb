"""What a fuzzer begins with: the committed examples, and words of the formats."""

import json
import struct
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.ledger.bundle import Bundle, BundleProofs
from contracts.ledger.note import cosign, sign_note, verifier_of
from contracts.ledger.proof import Checkpoint, InclusionProof
from contracts.wire.envelope import Envelope
from supervisor.adapters.identity.keys import FileSigner
from tests.factories import make_envelope, make_started
from tests.gguf_files import compose, sound_keys, sound_tensors
from tests.model_heads import full_keys, small_head
from tests.places import REPOSITORY

__all__ = ["DICTIONARY", "seeds_of", "write_seeds"]

# Each has a cache of another kind: windows, a state, both, compressed keys, an index.
GGUF_ARCHITECTURES = ("gemma3", "mamba", "jamba", "deepseek2", "deepseek4", "qwen3next", "minimax-m3")
SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
EXAMPLES = REPOSITORY / "contracts" / "examples"
# libFuzzer's form: one quoted word a line.
DICTIONARY = "\n".join(
    f'"{word}"'
    for word in (
        *('{\\"', '\\":', ',\\"', "[]", "{}", "null", "true", "NaN", "-0", "1e999", "\\\\ud800", "\\\\u0000"),
        *("9007199254740991", "9007199254740992", "0.01", "\\xef\\xbb\\xbf", "\\xff", "\\x0a", "GGUF", "general."),
        *("type", "token", "ready", "prompt", "done", "error", "index", "token_id", "text", "tokens", "finish_reason"),
        *("protocol", "backend", "model", "sampling", "stop", "payload", "signatures", "keyid", "exit"),
    )
)


def _frame(data: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BxxxI", channel, len(data)) + data


def _one_line(document: bytes) -> bytes:
    try:
        return json.dumps(json.loads(document), separators=(",", ":")).encode()
    except ValueError:
        return document


def _ggufs() -> list[bytes]:
    described = {"general.name": "A model", "general.file_type": 2, "tokenizer.chat_template": "{{ messages }}"}
    tensors = sound_tensors("q4_0", row=32)
    keys = [sound_keys() | described, *(full_keys(name, small_head(name), 8) for name in GGUF_ARCHITECTURES)]
    sound = (compose(each, tensors) for each in keys)
    return [head + bytes(size_bytes - len(head)) for head, size_bytes in sound]


def _ledger_texts() -> list[bytes]:
    verifier = verifier_of("log.test/1", SIGNING_KEY.public_key())
    signer = FileSigner(SIGNING_KEY)
    checkpoint = sign_note(Checkpoint("log.test/1", 2, bytes(32)).text, verifier, signer)
    witness = verifier_of("witness.test", SIGNING_KEY.public_key(), witness=True)
    seen = cosign(checkpoint, witness, signer, at_s=1_700_000_000)
    proof = InclusionProof(1, (bytes(32),), checkpoint).encode()
    return [text.encode() for text in (checkpoint, seen, proof, verifier.encode(), witness.encode())]


def _bundle() -> bytes:
    signer, proof = FileSigner(SIGNING_KEY), _ledger_texts()[2].decode()
    bundle = Bundle(
        schema_version="weos.bundle/1",
        record=Envelope.parse(make_envelope(signer)),
        started=Envelope.parse(make_started(signer)),
        proofs=BundleProofs(started=proof, final=proof),
        manifest=None,
        started_manifest=None,
        keyrings=(),
        revocations=(),
    )
    return bundle.model_dump_json().encode()


def seeds_of(target: str) -> list[bytes]:
    """Return what the tries of a target begin with."""
    lines = {path.stem: _one_line(path.read_bytes()) for path in sorted(EXAMPLES.glob("*/runner-*.json"))}
    events = [line for name, line in lines.items() if not name.startswith(("runner-setup", "runner-job"))]
    known = {
        "bundle": [_bundle()],
        "command": [lines["runner-setup.two-threads"], lines["runner-job.greedy"], b'{"type":"exit"}'],
        "gguf": _ggufs(),
        "proof": _ledger_texts(),
        "record": [b'{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}'],
        "request": [_one_line(path.read_bytes()) for path in sorted(EXAMPLES.glob("*/run-request.*.json"))],
        "statement": [_one_line(path.read_bytes()) for path in sorted(EXAMPLES.glob("valid/statement.*.json"))],
        "stream": [
            _frame(b"\n".join([*events, b""])),
            *(_frame(line + b"\n", number) for number, line in enumerate(events)),
        ],
    }
    return known.get(target, events)


def write_seeds(target: str, directory: Path) -> None:
    """Fill a directory with one file for each seed of a target."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds_of(target)):
        (directory / f"seed-{number:03}").write_bytes(seed)
