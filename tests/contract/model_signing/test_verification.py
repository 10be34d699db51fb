import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from contracts.model_signing.documents import MAX_BUNDLE_BYTES
from contracts.model_signing.errors import ModelSignatureError
from contracts.model_signing.verification import TrustedKey, open_signature
from contracts.wire.document import sha256_digest
from tests.model_signatures import Authority, covering, make_bundle, make_statement, public_pem

PEER = Path(__file__).parent / "peer"
MODEL = b"GGUF: the model"
FILE = sha256_digest(MODEL)
FILES = {".": MODEL}
KEY = ec.generate_private_key(ec.SECP256R1())
Change = Callable[[dict[str, Any]], Any]


def trust(key: Any = KEY) -> TrustedKey:
    return TrustedKey.load(public_pem(key))


def refusal_of(bundle: dict[str, Any] | bytes, key: Any = KEY, file: str = FILE) -> str:
    data = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    with pytest.raises(ModelSignatureError) as caught:
        open_signature(data, trust(key)).vouch_for(file)
    assert caught.value.code == "signature_refused"
    return str(caught.value)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_file_signed_by_the_trusted_key_is_vouched_for(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    data = json.dumps(make_bundle(make_statement(FILES), key)).encode()
    signature = open_signature(data, trust(key)).vouch_for(FILE)
    information = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert signature.signer == sha256_digest(information)
    assert signature.bundle == sha256_digest(data)


@pytest.mark.parametrize("name", ["one-file-p256", "directory-p521"])
def test_a_signature_of_the_reference_tool_holds(name: str) -> None:
    key = TrustedKey.load((PEER / f"{name}.pem").read_bytes())
    signed = open_signature((PEER / f"{name}.sig").read_bytes(), key)
    assert signed.vouch_for(sha256_digest(b"model one")) == signed.signature


def test_each_file_of_a_signed_directory_is_vouched_for_under_any_name() -> None:
    bundle = make_bundle(make_statement({"a/model.gguf": MODEL, "README.md": b"read me"}), KEY)
    signed = open_signature(json.dumps(bundle).encode(), trust())
    assert signed.vouch_for(FILE) == signed.vouch_for(sha256_digest(b"read me"))
    assert "2 other files" in refusal_of(bundle, file=sha256_digest(b"evil"))


def test_another_file_is_refused() -> None:
    message = refusal_of(make_bundle(make_statement(FILES), KEY), file=sha256_digest(b"evil"))
    assert "another file" in message
    assert sha256_digest(b"evil") in message


def test_fields_that_the_format_does_not_know_are_passed_over() -> None:
    statement = make_statement(FILES)
    statement["predicate"]["model_card"] = {"licence": "Apache-2.0"}
    assert open_signature(json.dumps(make_bundle(statement, KEY)).encode(), trust()).vouch_for(FILE)


@pytest.mark.parametrize(
    "other", [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP521R1())], ids=["p256", "p521"]
)
def test_another_key_is_refused(other: ec.EllipticCurvePrivateKey) -> None:
    assert "made by another key" in refusal_of(make_bundle(make_statement(FILES), KEY), other)


def test_a_changed_payload_is_refused_before_it_is_read() -> None:
    bundle = make_bundle(make_statement(FILES), KEY)
    bundle["dsseEnvelope"]["payload"] = make_bundle(b"no JSON", KEY)["dsseEnvelope"]["payload"]
    assert "made by another key, or its content was changed" in refusal_of(bundle)


def put(*path: str | int, value: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


MATERIAL = "verificationMaterial"
ENVELOPE = "dsseEnvelope"
BUNDLE_FAULTS: dict[str, tuple[Change, str]] = {
    "another media type": (
        put("mediaType", value="application/vnd.dev.sigstore.bundle+json;version=0.2"),
        "media type is not application/vnd.dev.sigstore.bundle.v0.3+json",
    ),
    "no envelope": (lambda bundle: bundle.pop(ENVELOPE), "no Sigstore bundle"),
    "Sigstore's own certificate": (put(MATERIAL, value={"certificate": {"rawBytes": "AA=="}}), "without a lasting key"),
    "neither key nor certificate": (put(MATERIAL, value={}), "either a public key or a certificate chain"),
    "key and certificate": (
        put(MATERIAL, "x509CertificateChain", value={"certificates": [{"rawBytes": "AA=="}]}),
        "either a public key or a certificate chain",
    ),
    "a certificate where a key is trusted": (
        put(MATERIAL, value={"x509CertificateChain": {"certificates": [{"rawBytes": "AA=="}]}}),
        "use --certificate-chain in place of --key",
    ),
    "another payload type": (put(ENVELOPE, "payloadType", value="text/plain"), "payload type"),
    "no signature": (put(ENVELOPE, "signatures", value=[]), "0 signatures; exactly one"),
    "two signatures": (
        lambda bundle: bundle[ENVELOPE]["signatures"].append({"sig": "AA=="}),
        "2 signatures; exactly one",
    ),
    "a payload that is not base64": (put(ENVELOPE, "payload", value="AA=A"), "payload in the bundle is not canonical"),
    "a signature that is not base64": (
        put(ENVELOPE, "signatures", 0, "sig", value="AB=="),
        "signature in the bundle is not canonical",
    ),
    "a signature that is not DER": (put(ENVELOPE, "signatures", 0, "sig", value="AAAA"), "made by another key"),
}


@pytest.mark.parametrize(("change", "message"), BUNDLE_FAULTS.values(), ids=BUNDLE_FAULTS)
def test_a_faulty_bundle_is_refused(change: Change, message: str) -> None:
    bundle = make_bundle(make_statement(FILES), KEY)
    change(bundle)
    assert message in refusal_of(bundle)


RESOURCES = ("predicate", "resources")
STATEMENT_FAULTS: dict[str, tuple[Change, str]] = {
    "another statement": (put("_type", value="https://in-toto.io/Statement/v0.1"), "not an in-toto statement"),
    "another predicate": (put("predicateType", value="https://slsa.dev/provenance/v1"), "its predicate is not"),
    "a predicate before 1.0": (put("predicateType", value="https://model_signing/Digests/v0.1"), "format before 1.0"),
    "no predicate": (lambda statement: statement.pop("predicate"), "no manifest of a model"),
    "no files": (put(*RESOURCES, value=[]), "no manifest of a model"),
    "digests of parts of files": (put("predicate", "serialization", "method", value="shards"), "parts of files"),
    "BLAKE2 by its method": (put("predicate", "serialization", "hash_type", value="blake2b"), "not all SHA-256"),
    "BLAKE2 by its file": (put(*RESOURCES, 0, "algorithm", value="blake2b"), "not all SHA-256"),
    "a digest that is too short": (put(*RESOURCES, 0, "digest", value="00"), "not all SHA-256"),
    "a digest in capitals": (put(*RESOURCES, 0, "digest", value="AA" * 32), "no manifest of a model"),
    "a file named twice": (
        lambda statement: statement["predicate"]["resources"].append(
            copy.deepcopy(statement["predicate"]["resources"][0])
        ),
        "names a file twice",
    ),
    "no subject": (put("subject", value=[]), "0 subjects; exactly one"),
    "two subjects": (lambda statement: statement["subject"].append(statement["subject"][0]), "2 subjects; exactly one"),
    "a subject of other files": (put("subject", 0, "digest", "sha256", value="00" * 32), "contradicts itself"),
    "a subject without SHA-256": (put("subject", 0, "digest", value={"sha512": "00"}), "contradicts itself"),
}


@pytest.mark.parametrize(("change", "message"), STATEMENT_FAULTS.values(), ids=STATEMENT_FAULTS)
def test_a_faulty_statement_is_refused_though_it_is_signed(change: Change, message: str) -> None:
    statement = make_statement(FILES)
    change(statement)
    assert message in refusal_of(make_bundle(statement, KEY))


def test_a_payload_that_reads_in_two_ways_is_refused() -> None:
    payload = json.dumps(make_statement(FILES)).replace('"predicateType"', '"predicateType": "x", "predicateType"')
    assert "repeats the key" in refusal_of(make_bundle(payload.encode(), KEY))


def test_the_order_of_the_files_is_part_of_what_is_signed() -> None:
    statement = make_statement({"a": MODEL, "b": b"other"})
    statement["predicate"]["resources"].reverse()
    assert "contradicts itself" in refusal_of(make_bundle(statement, KEY))
    statement["subject"][0]["digest"]["sha256"] = covering(statement["predicate"]["resources"])
    assert open_signature(json.dumps(make_bundle(statement, KEY)).encode(), trust()).vouch_for(FILE)


def test_bytes_that_are_no_bundle_are_refused() -> None:
    assert "no Sigstore bundle" in refusal_of(b"\x00")
    assert "no Sigstore bundle" in refusal_of(b" " * (MAX_BUNDLE_BYTES + 1))


def test_no_changed_byte_of_a_bundle_vouches_for_another_file() -> None:
    data = json.dumps(make_bundle(make_statement(FILES), KEY)).encode()
    other = sha256_digest(b"evil")
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(ModelSignatureError):
            open_signature(changed, trust()).vouch_for(other)


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "no public key in PEM"),
        (public_pem(ed25519.Ed25519PrivateKey.generate()), "none of the curves"),
        (public_pem(ec.generate_private_key(ec.SECP256K1())), "none of the curves"),
    ],
    ids=["empty", "Ed25519", "secp256k1"],
)
def test_a_key_of_another_kind_is_refused(pem: bytes, message: str) -> None:
    with pytest.raises(ModelSignatureError, match=message):
        TrustedKey.load(pem)


def test_the_peers_keys_are_public() -> None:
    # No private key belongs into the source tree.
    for path in PEER.glob("*.pem"):
        assert path.name == "authority.pem" or load_pem_public_key(path.read_bytes())


def test_a_bundle_with_a_chain_needs_an_authority() -> None:
    chain = [Authority.make().certify(KEY)]
    assert "use --certificate-chain" in refusal_of(make_bundle(make_statement(FILES), KEY, chain))
