"""Changes to a genuine bundle, and the code that the auditors' page names for each.

Each attack is a function from a genuine bundle to an attempt. Attackers differ in what they have: the file alone, or
the engine's and the ledger's own keys; who has those tells a lie that is signed, logged and proven.
"""

from tests.attacks import by_spelling as spelling
from tests.attacks import harmless
from tests.attacks import on_releases as releases
from tests.attacks import on_statements as statements
from tests.attacks import on_the_ledger as ledger
from tests.attacks.forging import Attack

__all__ = ["ANY", "DEVELOPMENT_ONLY", "RELEASED_ONLY"]

Table = tuple[tuple[Attack, str], ...]

ANY: Table = (
    (statements.bit_flip_in_the_record, "BAD_SIGNATURE"),
    (statements.bit_flip_in_the_statement_of_the_start, "BAD_SIGNATURE"),
    (statements.swapped_signatures, "BAD_SIGNATURE"),
    (statements.swapped_statements, "SCHEMA_VIOLATION"),
    (statements.start_of_another_execution, "ID_MISMATCH"),
    (statements.start_with_another_number, "ID_MISMATCH"),
    (statements.start_with_another_plan, "ID_MISMATCH"),
    (statements.start_without_the_nonce, "ID_MISMATCH"),
    (statements.start_at_another_time, "ID_MISMATCH"),
    (statements.start_with_another_manifest, "ID_MISMATCH"),
    (statements.start_about_something_else, "ID_MISMATCH"),
    (statements.answer_to_another_challenge, "ID_MISMATCH"),
    (releases.manifest_that_nobody_names, "ID_MISMATCH"),
    (statements.forged_plan, "ID_MISMATCH"),
    (statements.another_version, "KEY_VERSION_MISMATCH"),
    (statements.start_of_another_version, "KEY_VERSION_MISMATCH"),
    (ledger.shorter_ledger, "ROLLBACK"),
    (ledger.another_root_of_the_same_size, "FORK"),
    (ledger.two_roots_in_one_bundle, "FORK"),
    (ledger.two_checkpoints_in_one_bundle, "INCONSISTENT"),
    (ledger.cosigned_in_one_proof_alone, "INCONSISTENT"),
    (ledger.record_before_its_start, "INCONSISTENT"),
    (ledger.start_where_its_number_cannot_stand, "INCONSISTENT"),
    (ledger.rewritten_root, "BAD_CHECKPOINT"),
    (ledger.checkpoint_by_another_key, "BAD_CHECKPOINT"),
    (ledger.last_checkpoint_by_another_key, "BAD_CHECKPOINT"),
    (ledger.false_cosignature, "BAD_CHECKPOINT"),
    (ledger.ledger_of_a_stranger, "WRONG_ORIGIN"),
    (ledger.no_ledger_trusted, "WRONG_ORIGIN"),
    (ledger.changed_proof, "BAD_INCLUSION"),
    (ledger.shortened_proof, "BAD_INCLUSION"),
    (ledger.moved_index, "BAD_INCLUSION"),
    (ledger.index_beyond_the_ledger, "BAD_INCLUSION"),
    (ledger.swapped_proofs, "BAD_INCLUSION"),
    (ledger.record_that_was_never_logged, "BAD_INCLUSION"),
    (spelling.repeated_key, "MALFORMED"),
    (spelling.not_a_number, "MALFORMED"),
    (spelling.lone_surrogate, "MALFORMED"),
    (spelling.trailing_bits_in_the_signature, "MALFORMED"),
    (spelling.space_in_the_payload, "MALFORMED"),
    (spelling.key_order_in_the_payload, "MALFORMED"),
    (spelling.float_in_the_payload, "MALFORMED"),
    (spelling.negative_zero_in_the_payload, "MALFORMED"),
    (spelling.repeated_key_in_the_payload, "MALFORMED"),
    (spelling.proof_with_leading_zero, "MALFORMED"),
    (ledger.last_checkpoint_that_is_none, "MALFORMED"),
    (ledger.witness_among_the_ledgers, "MALFORMED"),
    (spelling.number_beyond_two_to_53, "OUT_OF_RANGE"),
    (spelling.number_beyond_two_to_53_in_the_payload, "OUT_OF_RANGE"),
    (spelling.missing_field, "SCHEMA_VIOLATION"),
    (spelling.extra_field, "SCHEMA_VIOLATION"),
    (spelling.extra_field_in_the_payload, "SCHEMA_VIOLATION"),
    (spelling.extra_field_in_the_statement_of_the_start, "SCHEMA_VIOLATION"),
    (spelling.another_payload_type, "UNSUPPORTED_TYPE"),
    (statements.no_signature, "SIGNATURE_COUNT"),
    (statements.two_signatures, "SIGNATURE_COUNT"),
    (statements.forged_ratio, "METRIC_INCONSISTENT"),
    (spelling.padded, "TOO_LARGE"),
    (spelling.large_record, "TOO_LARGE"),
    (spelling.nested_deeply, "TOO_LARGE"),
    (ledger.small_order_key_of_a_ledger, "WEAK_KEY"),
    (harmless.lie_in_the_key_id, "VALID"),
    (harmless.other_spelling_of_the_bundle, "VALID"),
    (harmless.cosigned, "VALID"),
    (harmless.cosigned_by_somebody, "VALID"),
    (harmless.seen_before, "VALID"),
    (harmless.seen_when_it_was_shorter, "VALID"),
    (harmless.another_ledger_seen_before, "VALID"),
)
DEVELOPMENT_ONLY: Table = (
    (statements.small_order_key_of_a_development_version, "WEAK_KEY"),
    (releases.keyrings_without_a_manifest, "ID_MISMATCH"),
    (releases.manifest_in_another_base64, "MALFORMED"),
)
RELEASED_ONLY: Table = (
    (releases.manifest_of_another_version, "KEY_VERSION_MISMATCH"),
    (releases.home_made_manifest, "UNTRUSTED_MANIFEST"),
    (releases.no_manifest, "UNTRUSTED_MANIFEST"),
    (releases.revoked, "REVOKED"),
    (releases.revoked_as_the_auditor_knows, "REVOKED"),
    (releases.revocation_by_a_stranger, "BAD_SIGNATURE"),
    (releases.revocation_of_another_version, "ID_MISMATCH"),
    (releases.revocation_in_another_base64, "MALFORMED"),
    (harmless.revoked_later, "VALID"),
    (releases.older_than_its_manifest, "OUT_OF_VALIDITY"),
    (releases.manifest_by_a_root_key_out_of_use, "OUT_OF_VALIDITY"),
    (releases.older_keyring, "ROOT_ROLLBACK"),
    (releases.another_keyring_of_the_same_number, "FORK"),
    (releases.forged_older_keyring, "BAD_SIGNATURE"),
    (releases.plan_of_other_policies, "ID_MISMATCH"),
    (releases.small_order_key_in_the_manifest, "WEAK_KEY"),
)
