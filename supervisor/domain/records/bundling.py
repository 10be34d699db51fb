"""Builds the bundle that an auditor gets about one execution. Nothing is verified here: that is the auditor's task."""

from collections.abc import Mapping

from contracts.ledger.bundle import Bundle, BundleProofs
from contracts.ledger.proof import InclusionProof
from contracts.verify.speaker import ReleaseEvidence, claimed_version, is_released
from contracts.wire.envelope import Envelope

__all__ = ["build_bundle", "released_versions"]


def _recorded_version(record: bytes, planned: str) -> str:
    return claimed_version(record) or planned


def released_versions(record: bytes, planned: str) -> frozenset[str]:
    """Return which are released versions: the version that signed a record and the version that planned it."""
    return frozenset(version for version in (_recorded_version(record, planned), planned) if is_released(version))


def build_bundle(
    record: bytes,
    started: bytes,
    planned: str,
    proofs: tuple[InclusionProof, InclusionProof],
    releases: Mapping[str, ReleaseEvidence],
) -> Bundle:
    """Return the bundle of one execution.

    Args:
        record: the stored envelope of its record.
        started: the stored envelope of the statement that it was accepted.
        planned: the version that planned it.
        proofs: proofs of the started leaf and of the final leaf, with the same checkpoint.
        releases: the evidence about the `released_versions`.

    Raises:
        ContractError: stored bytes are not an envelope.
    """
    recorded = _recorded_version(record, planned)
    known = {version: releases[version] for version in sorted({recorded, planned}) if version in releases}
    manifests = {version: Envelope.parse(each.manifest) for version, each in known.items() if each.manifest is not None}
    # The root's keyrings are the same for all versions. Without a manifest they are not needed.
    keyrings = next((known[version].keyrings for version in manifests), ())
    return Bundle(
        schema_version="weos.bundle/1",
        record=Envelope.parse(record),
        started=Envelope.parse(started),
        proofs=BundleProofs(started=proofs[0].encode(), final=proofs[1].encode()),
        manifest=manifests.get(recorded),
        started_manifest=None if planned == recorded else manifests.get(planned),
        keyrings=tuple(Envelope.parse(each) for each in keyrings),
        revocations=tuple(Envelope.parse(each) for version in manifests for each in known[version].revocations),
    )
