"""The operations of the API about the ledger."""

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
    "Which of the execution's two entries.",
    {"type": "string", "enum": ["started", "final"], "default": "final"},
)
FROM = Parameter("from", "query", "Entries of the older ledger.", _COUNT, required=True)
TO = Parameter("to", "query", "Entries of the newer ledger.", _COUNT, required=True)
START = Parameter(
    "start",
    "query",
    "The first position.",
    {"type": "integer", "minimum": 0, "maximum": MAX_SAFE_INTEGER, "default": 0},
)
LIMIT = Parameter(
    "limit",
    "query",
    "At most so many.",
    {"type": "integer", "minimum": 1, "maximum": ENTRIES_MAX, "default": ENTRIES_MAX},
)

RANGE_FROM = Parameter("from", "query", "Entries of the ledger where the range begins.", START.schema, required=True)
RANGE_TO = Parameter("to", "query", f"Entries where it ends; at most {RANGE_MAX} more.", _COUNT, required=True)

LEDGER_OPERATIONS = (
    Operation(
        "getBundle",
        "GET",
        "/v1/runs/{execution_id}/bundle",
        "Get a record with its proofs",
        "One file for an auditor: the record, the statement that it was accepted, and where both are in the ledger.",
        {200: ("The bundle.", Bundle)},
        ("bad_parameter", "execution_not_found", "record_not_ready", *_STORAGE),
        parameters=(EXECUTION_ID,),
    ),
    Operation(
        "getCheckpoint",
        "GET",
        "/v1/ledger/checkpoint",
        "Get the newest checkpoint",
        "Name, size and root of the ledger under its signature: C2SP tlog-checkpoint.",
        {200: ("The checkpoint.", None)},
        _STORAGE,
        media_type=TEXT,
    ),
    Operation(
        "getProof",
        "GET",
        "/v1/ledger/proof/{execution_id}",
        "Get the proof that an entry is in the ledger",
        "C2SP tlog-proof with the newest checkpoint.",
        {200: ("The proof.", None)},
        ("bad_parameter", "ledger_entry_not_found", *_STORAGE),
        parameters=(EXECUTION_ID, KIND),
        media_type=TEXT,
    ),
    Operation(
        "getConsistency",
        "GET",
        "/v1/ledger/consistency",
        "Get the proof that the ledger was only extended",
        "The hashes of RFC 9162, 2.1.4, from one size to another.",
        {200: ("The proof.", ConsistencyProof)},
        ("bad_parameter", "ledger_range_unknown", *_STORAGE),
        parameters=(FROM, TO),
    ),
    Operation(
        "getRange",
        "GET",
        "/v1/ledger/range",
        "Get the proof that between two sizes nothing was left out",
        "The leaves between them, and for every execution accepted there its final leaf in the newest checkpoint.",
        {200: ("The proof.", RangeProof)},
        ("bad_parameter", "ledger_range_unknown", *_STORAGE),
        parameters=(RANGE_FROM, RANGE_TO),
    ),
    Operation(
        "listEntries",
        "GET",
        "/v1/ledger/entries",
        "List entries of the ledger",
        "In order, a page at a time: every leaf with the envelope that it commits to.",
        {200: ("A page.", EntryPage)},
        ("bad_parameter", *_STORAGE),
        parameters=(START, LIMIT),
    ),
)
