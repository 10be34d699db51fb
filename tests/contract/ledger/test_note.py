import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from contracts.ledger.note import MAX_NOTE_BYTES, Verifier, cosign, cosignature_time, parse_note, sign_note, verifier_of
from contracts.wire.errors import ContractError

TEXT = "example.org/log\n7\nabc\n"
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"log").digest())
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"witness").digest())
LOG = verifier_of("example.org/log", KEY.public_key())
WITNESS = verifier_of("witness.example", WITNESS_KEY.public_key(), witness=True)
SIGNED = sign_note(TEXT, LOG, KEY)


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def refused(data: bytes) -> str:
    with pytest.raises(ContractError) as caught:
        parse_note(data)
    return caught.value.code


def test_a_signed_note_is_text_blank_line_and_signature() -> None:
    text, line = SIGNED.split("\n\n")
    assert text + "\n" == TEXT
    dash, name, encoded = line.rstrip("\n").split(" ")
    assert (dash, name) == ("\u2014", "example.org/log")
    data = base64.b64decode(encoded)
    # C2SP signed-note: key ID = SHA-256(key name || 0x0A || 0x01 || public key)[:4]
    assert data[:4] == hashlib.sha256(b"example.org/log\n\x01" + raw(KEY)).digest()[:4]
    KEY.public_key().verify(data[4:], TEXT.encode())


def test_a_cosignature_covers_time_and_text() -> None:
    noted = parse_note(cosign(SIGNED, WITNESS, WITNESS_KEY, at_s=1_679_315_147).encode())
    assert LOG.holds(noted) is True
    assert WITNESS.holds(noted) is True
    assert cosignature_time(WITNESS, noted) == 1_679_315_147
    line = noted.signatures[1]
    assert line.key_id == hashlib.sha256(b"witness.example\n\x04" + raw(WITNESS_KEY)).digest()[:4]
    assert line.signature[:8] == (1_679_315_147).to_bytes(8, "big")
    WITNESS_KEY.public_key().verify(line.signature[8:], b"cosignature/v1\ntime 1679315147\n" + TEXT.encode())


def test_a_note_that_no_known_key_signed_says_nothing() -> None:
    note = parse_note(SIGNED.encode())
    assert WITNESS.holds(note) is None
    assert cosignature_time(WITNESS, note) is None
    # The same key under another name, or for another purpose, is another verifier.
    assert verifier_of("example.org/other", KEY.public_key()).holds(note) is None
    assert verifier_of("example.org/log", KEY.public_key(), witness=True).holds(note) is None


def test_a_signature_under_a_known_name_that_does_not_hold_spoils_the_note() -> None:
    forged = base64.b64encode(LOG.key_id + bytes(64)).decode()
    note = parse_note(f"{SIGNED}\u2014 {LOG.name} {forged}\n".encode())
    assert LOG.holds(note) is False
    short = base64.b64encode(WITNESS.key_id + bytes(8)).decode()
    assert WITNESS.holds(parse_note(f"{SIGNED}\u2014 {WITNESS.name} {short}\n".encode())) is False


@given(st.integers(0, len(SIGNED.encode()) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_does_not_hold(position: int, flip: int) -> None:
    data = bytearray(SIGNED.encode())
    data[position] ^= flip
    try:
        note = parse_note(bytes(data))
    except ContractError:
        return
    assert LOG.holds(note) is not True


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no signature\n",
        b"\n\n\xe2\x80\x94 a AAAAAAAA\n",
        b"text\n\n",
        b"text\n\nsignature\n",
        SIGNED.encode()[:-1],
        SIGNED.replace("\n", "\r\n").encode(),
        SIGNED.encode() + b"\xff",
        SIGNED.encode().replace(b"7", b"\t"),
        (TEXT + "\n\u2014 a+b AAAAAAAA\n").encode(),
        (TEXT + "\n\u2014 a AAAA\n").encode(),
        (TEXT + "\n\u2014 a AAAAAAB=\n").encode(),
        (TEXT + "\n" + "\u2014 a AAAAAAAA\n" * 33).encode(),
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    assert refused(data) == "malformed_json"


def test_a_large_note_is_not_read() -> None:
    assert refused(b"a" * (MAX_NOTE_BYTES + 1)) == "too_large"


@pytest.mark.parametrize("verifier", [LOG, WITNESS])
def test_a_verifier_key_is_read_as_it_was_written(verifier: Verifier) -> None:
    assert Verifier.parse(verifier.encode()).encode() == verifier.encode()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("example.org/log", "malformed_json"),
        (LOG.encode() + "\n", "malformed_json"),
        (LOG.encode().replace(LOG.key_id.hex(), "00000000"), "malformed_json"),
        ("a+00000000+" + base64.b64encode(b"\x02" + bytes(32)).decode(), "malformed_json"),
        ("a+00000000+" + base64.b64encode(b"\x01" + bytes(31)).decode(), "malformed_json"),
        ("a+00000000+" + base64.b64encode(b"\x01" + bytes(32)).decode(), "weak_key"),
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str, code: str) -> None:
    with pytest.raises(ContractError) as caught:
        Verifier.parse(text)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "\u00e1", "x" * 129])
def test_a_name_that_cannot_stand_in_a_note_is_refused(name: str) -> None:
    with pytest.raises(ContractError):
        verifier_of(name, KEY.public_key())
