"""The operations of the API on the ledger."""

from contracts.api.operation import EXECUTION_ID, Operation, Parameter
from contracts.ledger.bundle import Bundle, ConsistencyProof, EntryPage
from contracts.ledger.range_proof import RANGE_MAX, RangeProof
from contracts.wire.canonical import MAX_SAFE_INTEGER

__all__ = ["LEDGER_OPERATIONS", "TEXT"]

TEXT = "text/plain"
ENTRIES_MAX = 100
_STORAGE = ("storage_full", "ledger_unsound")
_COUNT = {"type": "integer", "minimum": 1, "maximum": MAX_SAFE_INTEGER}

KIND = Parameter(
    "kind",
    "query",
    "Which of the two ledger entries of the execution: its acceptance (`started`) or its end (`final`).",
    {"type": "string", "enum": ["started", "final"], "default": "final"},
)
FROM = Parameter("from", "query", "Number of entries of the older ledger.", _COUNT, required=True)
TO = Parameter("to", "query", "Number of entries of the newer ledger.", _COUNT, required=True)
START = Parameter(
    "start",
    "query",
    "Position of the first entry to return; 0 is the first entry of the ledger.",
    {"type": "integer", "minimum": 0, "maximum": MAX_SAFE_INTEGER, "default": 0},
)
LIMIT = Parameter(
    "limit",
    "query",
    "Maximum number of entries to return.",
    {"type": "integer", "minimum": 1, "maximum": ENTRIES_MAX, "default": ENTRIES_MAX},
)

RANGE_FROM = Parameter(
    "from", "query", "Size of the ledger, in entries, at which the range begins.", START.schema, required=True
)
RANGE_TO = Parameter(
    "to",
    "query",
    f"Size of the ledger, in entries, at which the range ends; at most {RANGE_MAX} more.",
    _COUNT,
    required=True,
)

LEDGER_OPERATIONS = (
    Operation(
        "getBundle",
        "GET",
        "/v1/runs/{execution_id}/bundle",
        "Get a record with its proofs",
        "One file for an auditor: the signed record, the signed statement that the execution was accepted, and "
        "the proofs that both are in the ledger.",
        {200: ("The bundle.", Bundle)},
        ("bad_parameter", "execution_not_found", "record_not_ready", *_STORAGE),
        parameters=(EXECUTION_ID,),
        permission="read_own",
    ),
    Operation(
        "getCheckpoint",
        "GET",
        "/v1/ledger/checkpoint",
        "Get the newest checkpoint",
        "Name, size and root hash of the ledger, signed by its key: a C2SP tlog-checkpoint.",
        {200: ("The checkpoint.", None)},
        _STORAGE,
        media_type=TEXT,
        permission="ledger",
    ),
    Operation(
        "getProof",
        "GET",
        "/v1/ledger/proof/{execution_id}",
        "Get the proof that an entry is in the ledger",
        "An inclusion proof together with the newest checkpoint: a C2SP tlog-proof.",
        {200: ("The proof.", None)},
        ("bad_parameter", "ledger_entry_not_found", *_STORAGE),
        parameters=(EXECUTION_ID, KIND),
        media_type=TEXT,
        permission="ledger",
    ),
    Operation(
        "getConsistency",
        "GET",
        "/v1/ledger/consistency",
        "Get the proof that the ledger was only extended",
        "A consistency proof (RFC 9162, 2.1.4) from one size of the ledger to another.",
        {200: ("The proof.", ConsistencyProof)},
        ("bad_parameter", "ledger_range_unknown", *_STORAGE),
        parameters=(FROM, TO),
        permission="ledger",
    ),
    Operation(
        "getRange",
        "GET",
        "/v1/ledger/range",
        "Get the proof that no record is missing between two sizes of the ledger",
        "The leaves of the range and, for every execution accepted within it, proof that its final leaf is in the "
        "newest checkpoint.",
        {200: ("The proof.", RangeProof)},
        ("bad_parameter", "ledger_range_unknown", *_STORAGE),
        parameters=(RANGE_FROM, RANGE_TO),
        permission="ledger",
    ),
    Operation(
        "listEntries",
        "GET",
        "/v1/ledger/entries",
        "List entries of the ledger",
        "Returns one page of entries, in order: each leaf with its signed statement.",
        {200: ("A page of entries.", EntryPage)},
        ("bad_parameter", *_STORAGE),
        parameters=(START, LIMIT),
        permission="ledger",
    ),
)
