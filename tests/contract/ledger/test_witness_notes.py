"""What a witness gives out can be read, whatever stood under the checkpoint that it was shown."""

from pathlib import Path

from contracts.ledger.note import SIGNATURES_MAX, cosign, parse_note, verifier_of
from supervisor.adapters.ledger.witness import Witness
from tests.attacks.logs import LOG, TRUST, make_genuine
from tests.factories import make_signer


def test_a_note_that_is_full_is_refused_and_not_remembered(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    witness.create("witness.example")
    genuine = note = make_genuine().checkpoint()
    for number in range(SIGNATURES_MAX - 1):
        signer = make_signer()
        note = cosign(note, verifier_of(f"stranger{number}", signer.key, witness=True), signer, at_s=1)
    refused = witness.countersign(note.encode(), TRUST, None, at_s=2)
    assert (refused.checks[-1].code, refused.note) == ("TOO_LARGE", None)
    assert witness.last_seen(note.encode()) is None
    signed = witness.countersign(genuine.encode(), TRUST, None, at_s=3)
    assert signed.note is not None


def test_a_witness_of_the_logs_name_keeps_the_logs_signature(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    verifier = witness.create(LOG.verifier.name)
    note = make_genuine().checkpoint()
    for at_s in (1, 2):
        signed = witness.countersign(note.encode(), TRUST, None, at_s=at_s).note
        assert signed is not None
        note = signed
    assert len(parse_note(note.encode()).signatures) == 2
    assert LOG.verifier.holds(parse_note(note.encode()))
    assert verifier.holds(parse_note(note.encode()))
