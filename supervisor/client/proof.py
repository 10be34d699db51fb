"""Whether who listens at an address is the engine: the answer to a challenge, verified before a token is sent."""

from contracts.execution.challenge import Challenge, ChallengeStatement
from contracts.verify.checks import CheckFailed, Checks, Verified, open_envelope, read_payload, run_checks
from contracts.verify.record import open_signed, require_key_version
from contracts.verify.speaker import find_speaker
from contracts.verify.trust import Trust
from supervisor.domain.planning.ports import ReleasesPort

__all__ = ["verify_answer"]


def verify_answer(
    data: bytes, *, nonce: str, address: str, trust: Trust, releases: ReleasesPort
) -> Verified[Challenge]:
    """Verify the answer to a challenge.

    Args:
        data: the envelope.
        nonce: what the client asked with; never used before.
        address: to which the client is connected, as the engine writes it.
        trust: keys that the client trusts.
        releases: manifests of released versions, which are verified too.
    """
    return run_checks(_verify, data, nonce, address, trust, releases)


def _verify(checks: Checks, data: bytes, nonce: str, address: str, trust: Trust, releases: ReleasesPort) -> Challenge:
    claimed = run_checks(_read_version, data).require()
    speaker = checks.take(find_speaker(claimed, trust, releases.evidence(claimed)))
    payload, versions = open_signed(checks, data, speaker.trust)
    checks.begin("challenge")
    statement = read_payload(ChallengeStatement, payload)
    challenge = statement.predicate
    if statement != ChallengeStatement.of(challenge):
        raise CheckFailed("ID_MISMATCH", "the statement's subject is not its predicate")
    checks.hold(statement.predicateType)
    checks.begin("key version")
    checks.hold(require_key_version("answer", challenge.engine_version, versions))
    checks.begin("nonce")
    if challenge.nonce != nonce:
        raise CheckFailed("ID_MISMATCH", "the answer is to another challenge")
    checks.hold(nonce)
    checks.begin("address")
    if challenge.address != address:
        detail = f"the engine listens at {challenge.address}; who listens at {address} passed the challenge on"
        raise CheckFailed("ID_MISMATCH", detail)
    checks.hold(address)
    return challenge


def _read_version(checks: Checks, data: bytes) -> str:
    _, payload = open_envelope(checks, data)
    checks.begin("challenge")
    return read_payload(ChallengeStatement, payload).predicate.engine_version
