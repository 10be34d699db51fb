import base64
import hashlib

import pytest

from contracts.ledger.note import parse_note
from contracts.ledger.proof import Checkpoint, InclusionProof, Leaf, build_leaf, parse_proof
from contracts.wire.envelope import Envelope, decode_base64, pre_authentication_bytes
from contracts.wire.errors import ContractError
from tests.factories import EXECUTION_ID, make_envelope, make_signer

ROOT = hashlib.sha256(b"root").digest()
CHECKPOINT = Checkpoint("example.org/log", 109_482, ROOT)
NOTE = CHECKPOINT.text + "\n\u2014 example.org/log " + base64.b64encode(bytes(68)).decode() + "\n"
PROOF = InclusionProof(73_894, (ROOT, bytes(32)), NOTE)


def test_a_leaf_commits_to_what_was_signed_and_to_the_signature() -> None:
    envelope = make_envelope(make_signer())
    leaf = build_leaf("final", 3, EXECUTION_ID, envelope, None)
    parsed = Envelope.parse(envelope)
    signed = pre_authentication_bytes(parsed.payloadType, decode_base64(parsed.payload))
    assert leaf.statement_sha256 == hashlib.sha256(signed).hexdigest()
    assert leaf.signature == parsed.signatures[0].sig
    assert Leaf.parse(leaf.canonical()) == leaf


def test_an_envelope_with_two_signatures_has_no_leaf() -> None:
    parsed = Envelope.parse(make_envelope(make_signer()))
    doubled = parsed.model_copy(update={"signatures": parsed.signatures * 2})
    with pytest.raises(ContractError):
        build_leaf("final", 1, EXECUTION_ID, doubled.model_dump_json(exclude_none=True).encode(), None)


def test_a_checkpoint_is_three_lines() -> None:
    assert CHECKPOINT.text == f"example.org/log\n109482\n{base64.b64encode(ROOT).decode()}\n"
    assert Checkpoint.of_note(parse_note(NOTE.encode())) == CHECKPOINT


@pytest.mark.parametrize(
    "text",
    [
        "example.org/log\n1\n",
        CHECKPOINT.text + "an extension\n",
        CHECKPOINT.text.replace("109482", "0109482"),
        CHECKPOINT.text.replace("109482", "-1"),
        CHECKPOINT.text.replace("109482", "9007199254740993"),
        CHECKPOINT.text.replace("example.org/log", "a log"),
        "example.org/log\n1\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "example.org/log\n1\nnothing\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        Checkpoint.of_note(parse_note((text + NOTE[len(CHECKPOINT.text) :]).encode()))


def test_a_proof_is_the_text_of_its_specification() -> None:
    encoded = PROOF.encode()
    assert encoded.split("\n\n", 1) == [
        "\n".join(
            ["c2sp.org/tlog-proof@v1", "index 73894", *(base64.b64encode(each).decode() for each in PROOF.hashes)]
        ),
        NOTE,
    ]
    proof, note, checkpoint = parse_proof(encoded.encode())
    assert (proof, note, checkpoint) == (PROOF, parse_note(NOTE.encode()), CHECKPOINT)
    alone = InclusionProof(0, (), NOTE)
    assert parse_proof(alone.encode().encode())[0] == alone


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("index 73894", "extra AAAA\nindex 73894"),
        ("index 73894", "index 073894"),
        ("index 73894\n", ""),
        ("index", "place"),
        ("\n\n", "\n"),
        (base64.b64encode(bytes(32)).decode(), base64.b64encode(bytes(33)).decode()),
        (base64.b64encode(bytes(32)).decode(), "\u00e1"),
        ("index 73894\n", "index 73894\n" + (base64.b64encode(bytes(32)).decode() + "\n") * 65),
    ],
)
def test_what_is_no_proof_is_refused(old: str, new: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse_proof(PROOF.encode().replace(old, new, 1).encode())
    assert caught.value.code == "malformed_json"


def test_a_large_proof_is_not_read() -> None:
    with pytest.raises(ContractError) as caught:
        parse_proof(b"a" * 70_000)
    assert caught.value.code == "too_large"
