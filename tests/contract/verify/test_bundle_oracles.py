"""Independent programs agree with the verifier about genuine bundles: DSSE, in-toto, Ed25519, openssl."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from google.protobuf.json_format import Parse
from in_toto_attestation.v1.statement import Statement as InTotoStatement
from in_toto_attestation.v1.statement_pb2 import Statement as InTotoMessage
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # public, but not re-exported in form

from contracts.ledger.note import parse_note
from contracts.wire.envelope import PAYLOAD_TYPE, decode_base64, pre_authentication_bytes
from tests.attacks.genuine import (
    LATER_KEY,
    LOG,
    SIGNER,
    Genuine,
    development_bundle,
    left_behind_bundle,
    released_bundle,
)
from tests.releases import ROOT, VERSION_KEY

BUNDLES = {"development": development_bundle(), "released": released_bundle(), "left behind": left_behind_bundle()}
RECORD_KEYS = {"development": SIGNER, "released": VERSION_KEY, "left behind": LATER_KEY}


def envelopes() -> dict[str, tuple[dict[str, Any], bytes]]:
    """Envelopes of the bundles, each with the key that signed it, as SubjectPublicKeyInfo."""
    found = {}
    for kind, genuine in BUNDLES.items():
        signers = {
            "record": RECORD_KEYS[kind],
            "started": SIGNER if kind == "development" else VERSION_KEY,
        }
        for name, signer in signers.items():
            found[f"{name} of {kind}"] = (genuine.document[name], base64.b64decode(signer.public_key))
    found["manifest"] = (BUNDLES["released"].document["manifest"], base64.b64decode(ROOT.public_key))
    return found


ENVELOPES = envelopes()


def securesystemslib_accepts(envelope: dict[str, Any], key: bytes) -> bool:
    # It asks for the field `keyid`; what stands there is not looked at.
    signatures = [{"keyid": "any", "sig": each["sig"]} for each in envelope["signatures"]]
    loaded = load_der_public_key(key)
    assert isinstance(loaded, Ed25519PublicKey)
    trusted = SSlibKey.from_crypto(loaded, "any")
    try:
        OtherEnvelope.from_dict({**envelope, "signatures": signatures}).verify([trusted], 1)
    except VerificationError:
        return False
    return True


def nacl_accepts(envelope: dict[str, Any], key: bytes) -> bool:
    signed = pre_authentication_bytes(PAYLOAD_TYPE, decode_base64(envelope["payload"]))
    loaded = load_der_public_key(key)
    assert isinstance(loaded, Ed25519PublicKey)
    raw = loaded.public_bytes(Encoding.Raw, PublicFormat.Raw)
    try:
        VerifyKey(raw).verify(signed, decode_base64(envelope["signatures"][0]["sig"]))
    except BadSignatureError:
        return False
    return True


def openssl_accepts(envelope: dict[str, Any], key: bytes, place: Path) -> bool:
    (place / "key.der").write_bytes(key)
    (place / "signed").write_bytes(pre_authentication_bytes(PAYLOAD_TYPE, decode_base64(envelope["payload"])))
    (place / "signature").write_bytes(decode_base64(envelope["signatures"][0]["sig"]))
    arguments = "pkeyutl -verify -pubin -inkey key.der -keyform DER -rawin -in signed -sigfile signature"
    ran = subprocess.run(["openssl", *arguments.split()], cwd=place, capture_output=True, timeout=60, check=False)
    return ran.returncode == 0


def forged(envelope: dict[str, Any]) -> dict[str, Any]:
    signature = bytearray(decode_base64(envelope["signatures"][0]["sig"]))
    signature[7] ^= 1
    return {**envelope, "signatures": [{"sig": base64.b64encode(signature).decode()}]}


@pytest.mark.parametrize("name", ENVELOPES)
def test_other_programs_agree_about_signatures(name: str, tmp_path: Path) -> None:
    envelope, key = ENVELOPES[name]
    for accepts in (
        securesystemslib_accepts,
        nacl_accepts,
        lambda document, public: openssl_accepts(document, public, tmp_path),
    ):
        assert accepts(envelope, key)
        assert not accepts(forged(envelope), key)


@pytest.mark.parametrize("name", ENVELOPES)
def test_another_library_reads_the_statements(name: str) -> None:
    payload = decode_base64(ENVELOPES[name][0]["payload"])
    read = InTotoStatement.copy_from_pb(Parse(payload, InTotoMessage()))
    read.validate()
    ours = json.loads(payload)
    assert read.pb.predicate_type == ours["predicateType"]
    assert [each.digest["sha256"] for each in read.pb.subject] == [each["digest"]["sha256"] for each in ours["subject"]]


@pytest.mark.parametrize("genuine", BUNDLES.values(), ids=BUNDLES)
def test_another_program_agrees_about_the_checkpoint(genuine: Genuine) -> None:
    note = genuine.document["proofs"]["final"].partition("\n\n")[2]
    line = parse_note(note.encode()).signatures[0]
    raw = LOG.verifier.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert VerifyKey(raw).verify(parse_note(note.encode()).text.encode(), line.signature)
