import json
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from contracts.model_signing.certificates import MAX_AUTHORITIES_BYTES, TrustedAuthorities
from contracts.model_signing.errors import ModelSignatureError
from contracts.model_signing.verification import open_signature
from contracts.wire.document import sha256_digest
from tests.model_signatures import DAY, NOW, Authority, b64, key_usage, make_bundle, make_statement, pem_of

PEER = Path(__file__).parent / "peer"
MODEL = b"GGUF: the model"
ROOT = Authority.make()
KEY = ec.generate_private_key(ec.SECP384R1())
ALICE = x509.RFC822Name("alice@example.org")
SITE = x509.UniformResourceIdentifier("https://example.org/models")
HOST = x509.DNSName("models.example.org")


def authorities(
    *certificates: x509.Certificate, identity: str | None = None, now: datetime = NOW
) -> TrustedAuthorities:
    return TrustedAuthorities.load(pem_of(*(certificates or (ROOT.certificate,))), identity=identity, now=now)


def sign(*chain: x509.Certificate, key: Any = KEY) -> bytes:
    return json.dumps(make_bundle(make_statement({".": MODEL}), key, chain)).encode()


def signer_of(bundle: bytes, trust: TrustedAuthorities) -> str:
    return open_signature(bundle, trust).vouch_for(sha256_digest(MODEL)).signer


def refusal_of(bundle: bytes, trust: TrustedAuthorities) -> str:
    with pytest.raises(ModelSignatureError) as caught:
        open_signature(bundle, trust)
    return str(caught.value)


@pytest.mark.parametrize("name", [ALICE, SITE, HOST], ids=lambda name: type(name).__name__)
def test_the_signer_is_whom_the_authority_certified(name: Any) -> None:
    assert signer_of(sign(ROOT.certify(KEY, names=[name])), authorities()) == name.value
    assert signer_of(sign(ROOT.certify(KEY, names=[name])), authorities(identity=name.value)) == name.value


def test_a_signer_without_another_name_is_named_by_the_subject() -> None:
    assert signer_of(sign(ROOT.certify(KEY)), authorities()) == "CN=signer"
    address = x509.IPAddress(IPv4Address("192.0.2.1"))
    assert signer_of(sign(ROOT.certify(KEY, names=[address])), authorities()) == "CN=signer"


def test_a_chain_leads_over_another_authority() -> None:
    middle = ROOT.certify_authority("middle")
    signer = middle.certify(KEY, names=[ALICE])
    assert signer_of(sign(signer, middle.certificate), authorities()) == "alice@example.org"
    assert "no authority" in refusal_of(sign(signer), authorities())
    assert signer_of(sign(signer), authorities(ROOT.certificate, middle.certificate)) == "alice@example.org"


def test_a_signature_of_the_reference_tool_holds() -> None:
    now = datetime(2027, 1, 1, tzinfo=UTC)
    trust = TrustedAuthorities.load((PEER / "authority.pem").read_bytes(), identity=None, now=now)
    signed = open_signature((PEER / "one-file-certificate.sig").read_bytes(), trust)
    assert signed.vouch_for(sha256_digest(b"model one")).signer == "alice@example.org"


def test_another_identity_is_refused() -> None:
    message = refusal_of(sign(ROOT.certify(KEY, names=[ALICE])), authorities(identity="bob@example.org"))
    assert "the signer is alice@example.org, not bob@example.org" in message


def test_of_several_identities_one_must_be_chosen() -> None:
    bundle = sign(ROOT.certify(KEY, names=[ALICE, SITE]))
    assert "several names (alice@example.org, https://example.org/models)" in refusal_of(bundle, authorities())
    assert signer_of(bundle, authorities(identity=SITE.value)) == SITE.value


@pytest.mark.parametrize(
    "names",
    [
        [x509.UniformResourceIdentifier("sha256:" + "0" * 64)],
        [x509.RFC822Name("a" * 300 + "@example.org")],
        [x509.UniformResourceIdentifier("https://example.org/\x1b[2J")],
    ],
    ids=["a key's digest", "too long", "not printable"],
)
def test_a_name_that_misleads_is_refused(names: list[x509.GeneralName]) -> None:
    assert "names nobody, or a name that cannot be shown" in refusal_of(
        sign(ROOT.certify(KEY, names=names)), authorities()
    )


def test_a_certificate_without_a_name_is_refused() -> None:
    assert "names nobody" in refusal_of(sign(ROOT.certify(KEY, common_name=None)), authorities())


def test_an_authority_of_the_same_name_is_refused() -> None:
    bundle = sign(Authority.make().certify(KEY, names=[ALICE]))
    assert "no authority of --certificate-chain certified the signer" in refusal_of(bundle, authorities())


def test_a_signer_is_no_authority() -> None:
    # The holder of a certificate for signing models must not certify others.
    alice = Authority(KEY, ROOT.certify(KEY, names=[ALICE]))
    mallory = ec.generate_private_key(ec.SECP256R1())
    bundle = sign(alice.certify(mallory, names=[SITE]), alice.certificate, key=mallory)
    assert "no authority" in refusal_of(bundle, authorities())


def test_a_certificate_of_another_key_is_refused() -> None:
    mallory = ec.generate_private_key(ec.SECP384R1())
    assert "made by another key" in refusal_of(sign(ROOT.certify(KEY), key=mallory), authorities())


def test_an_expired_certificate_is_refused_at_the_time_of_installation() -> None:
    bundle = sign(ROOT.certify(KEY, valid=(NOW - 2 * DAY, NOW - DAY)))
    assert "expired on 2026-05-31, and nothing proves that the signature is older" in refusal_of(bundle, authorities())
    assert signer_of(bundle, authorities(now=NOW - 1.5 * DAY)) == "CN=signer"


def test_a_certificate_of_the_future_is_refused() -> None:
    bundle = sign(ROOT.certify(KEY, valid=(NOW + DAY, NOW + 2 * DAY)))
    assert "valid from 2026-06-02 only" in refusal_of(bundle, authorities())


def test_an_expired_authority_is_refused() -> None:
    bundle = sign(ROOT.certify(KEY, valid=(NOW, NOW + 1000 * DAY)))
    assert "no authority" in refusal_of(bundle, authorities(now=NOW + 200 * DAY))


SIGNS = key_usage(digital_signature=True)
CODE = ExtendedKeyUsageOID.CODE_SIGNING


@pytest.mark.parametrize(
    ("usage", "purposes", "accepted"),
    [
        (SIGNS, [], True),
        (SIGNS, [CODE], True),
        (None, [CODE], True),
        (None, [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], True),
        (None, [], False),
        (SIGNS, [ExtendedKeyUsageOID.SERVER_AUTH], False),
        (key_usage(key_cert_sign=True), [CODE], False),
    ],
)
def test_only_a_certificate_for_signing_counts(
    usage: x509.KeyUsage | None, purposes: list[x509.ObjectIdentifier], *, accepted: bool
) -> None:
    bundle = sign(ROOT.certify(KEY, usage=usage, purposes=purposes))
    if accepted:
        assert signer_of(bundle, authorities()) == "CN=signer"
    else:
        assert "not made for signing code" in refusal_of(bundle, authorities())


def test_a_critical_extension_that_is_not_understood_is_refused() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
    assert "critical that is not understood" in refusal_of(
        sign(ROOT.certify(KEY, further=[(unknown, True)])), authorities()
    )
    assert signer_of(sign(ROOT.certify(KEY, further=[(unknown, False)])), authorities()) == "CN=signer"


def test_a_certified_key_of_another_kind_is_refused() -> None:
    certificate = ROOT.certify(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    assert "none of the curves" in refusal_of(sign(certificate), authorities())


def test_a_bare_key_needs_its_key() -> None:
    assert "use --key in place of --certificate-chain" in refusal_of(sign(), authorities())


def test_a_damaged_certificate_is_refused() -> None:
    bundle = json.loads(sign(ROOT.certify(KEY)))
    bundle["verificationMaterial"]["x509CertificateChain"]["certificates"][0]["rawBytes"] = b64(b"no DER")
    assert "certificate that cannot be read" in refusal_of(json.dumps(bundle).encode(), authorities())


def test_a_file_without_an_authority_is_refused() -> None:
    with pytest.raises(ModelSignatureError, match="no certificate in PEM"):
        TrustedAuthorities.load(b"", identity=None, now=NOW)
    with pytest.raises(ModelSignatureError, match="larger than"):
        TrustedAuthorities.load(b" " * (MAX_AUTHORITIES_BYTES + 1), identity=None, now=NOW)
