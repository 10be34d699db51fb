"""Verify an export of a whole ledger offline, line by line.

The checks, in order:

- the header, its checkpoint, and its release documents;
- every line: its leaf must be the leaf of its envelope;
- the tree: its root must be the checkpoint's;
- the checkpoint that the caller saw before;
- every signed statement, as `contracts.verify.speaker` verifies it;
- identities: started and final statements belong together, and no container was used twice;
- numbers have no gaps, and every execution has its result.

A VALID verdict does not say that the statements are true, or that others were shown the same log.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from contracts.ledger.export import ExportHeader, encode_header
from contracts.ledger.merkle import Frontier
from contracts.ledger.proof import Checkpoint, Leaf
from contracts.verify.checks import Check, CheckFailed, Checks, code_of
from contracts.verify.consistency import open_checkpoint, verify_checkpoint
from contracts.verify.log_entries import EntryFacts, EntryReader, StatementFacts
from contracts.verify.log_report import FINDINGS_MAX, LOG_CHECKS, Finding, Findings, LogReport, LogSummary
from contracts.verify.trust import Trust
from contracts.wire.errors import ContractError

__all__ = ["FINDINGS_MAX", "LOG_CHECKS", "LogVerifier", "verify_log"]


def _read_header(line: bytes) -> ExportHeader:
    try:
        header = ExportHeader.parse(line.removesuffix(b"\n"))
    except ContractError as error:
        raise CheckFailed(code_of(error), str(error)) from error
    if encode_header(header) != line:
        raise CheckFailed("MALFORMED", "the line is not in RFC 8785 form")
    return header


@dataclass(frozen=True, slots=True)
class _Begun:
    seq: int
    line: int
    statement: StatementFacts | None


class LogVerifier:
    """Verifies the lines of one export, in order.

    It keeps the ids of all executions and containers in memory, some 200 bytes for each. Everything else needs memory
    for O(log n) hashes and for the executions under way.
    """

    def __init__(self, trust: Trust, *, allow_open: bool = False) -> None:
        """Start a verification.

        Args:
            trust: the caller's trust; its `checkpoint` is compared, if it has one.
            allow_open: accept executions without a result if the export names them as under way. Only the exporter
                says that they were; a later checkpoint has to show that they ended.
        """
        self._trust = trust
        self._allow_open = allow_open
        self._checks = Checks()
        self._judged: list[Check] = []
        """The checks that do not end the verification if they fail: of the releases, and of all lines together."""
        self._header: ExportHeader | None = None
        self._checkpoint: Checkpoint | None = None
        self._seen: Checkpoint | None = None
        self._seen_root: bytes | None = None
        self._tree: Frontier | None = Frontier()
        self._line = 1
        self._seq = 0
        self._ids: set[int] = set()
        self._containers: set[bytes] = set()
        self._manifests: set[str | None] = set()
        self._open: dict[str, _Begun] = {}
        self._findings = Findings()
        self.summary = LogSummary()

    def begin(self, line: bytes) -> EntryReader | None:
        """Verify the header; return the reader of the other lines, or None if the header is refused."""
        with self._checks as checks:
            checks.begin("header")
            header = _read_header(line)
            checks.hold(f"{header.schema_version}, {header.entries} entries")
            _, self._checkpoint = open_checkpoint(checks, header.checkpoint.encode("utf-8"), self._trust)
            self._read_seen()
            reader = EntryReader(header, self._trust)
            self._judged.append(reader.check)
            self._header = header
            self._watch()
            return reader
        return None

    def add(self, facts: EntryFacts) -> None:
        """Add the next line, as the reader read it."""
        self._line += 1
        self.summary.entries += 1
        for fault in facts.faults:
            self._find(fault.check, fault.code, fault.message)
        if facts.leaf is None or facts.leaf_hash is None:
            # The root cannot be computed any more.
            self._tree = None
            return
        if facts.position != self._line - 2:
            self._find("entries", "INCONSISTENT", f"entry {facts.position} is at the place of entry {self._line - 2}")
        if self._tree is not None:
            self._tree.append(facts.leaf_hash)
            self._watch()
        if facts.statement is not None:
            self.summary.count(facts.statement)
            self._manifests.add(facts.statement.manifest)
        if facts.leaf.kind == "started":
            self._begin_execution(facts.leaf, facts.statement)
        else:
            self._end_execution(facts.leaf, facts.statement)

    @property
    def header(self) -> ExportHeader | None:
        """The header; None if it was refused."""
        return self._header

    @property
    def is_over(self) -> bool:
        """Whether there are already more entries than the checkpoint has, so that further lines change nothing."""
        return self._checkpoint is not None and self.summary.entries > self._checkpoint.size

    @property
    def has_findings(self) -> bool:
        """Whether a line had a fault so far."""
        return bool(self._findings)

    def finish(self) -> LogReport:
        """Return the report, after the last line."""
        if self._header is not None and self._checkpoint is not None:
            self._judge_tree(self._header, self._checkpoint)
            self._judge_seen(self._checkpoint)
            self._judge_open(self._header)
            self._judged += self._findings.judge(self._describe_lines())
        checks = (*self._checks.made, *self._judged)
        return LogReport(checks, self._findings.list_kept(), self.summary, self._checkpoint)

    def _read_seen(self) -> None:
        if self._trust.checkpoint is None:
            return
        verified = verify_checkpoint(self._trust.checkpoint.encode("utf-8"), self._trust)
        if verified.document is None:
            failed = verified.checks[-1]
            self._find("last seen", failed.code, f"the checkpoint in the trust file: {failed.message}")
        else:
            self._seen = verified.document[1]

    def _watch(self) -> None:
        if self._tree is not None and self._seen is not None and self._tree.size == self._seen.size:
            self._seen_root = self._tree.root()

    def _find(self, check: str, code: str, message: str, line: int | None = None) -> None:
        self._findings.add(Finding(check, code, line or self._line, message))

    def _begin_execution(self, leaf: Leaf, statement: StatementFacts | None) -> None:
        self.summary.executions += 1
        if leaf.seq <= self._seq:
            self._find("sequence", "DUPLICATE_ID", f"seq {leaf.seq} comes after seq {self._seq}")
        elif leaf.seq > self._seq + 1:
            left_out = f"seq {self._seq + 1} to {leaf.seq - 1}"
            self._find("sequence", "MISSING_RESULT", f"{left_out}: these executions are missing")
        self._seq = max(self._seq, leaf.seq)
        number = int(leaf.execution_id.removeprefix("exec_"), 16)
        if number in self._ids:
            self._find("identities", "DUPLICATE_ID", f"{leaf.execution_id} was accepted before")
            return
        self._ids.add(number)
        self._open[leaf.execution_id] = _Begun(leaf.seq, self._line, statement)

    def _take_container(self, container_id: str) -> None:
        name = bytes.fromhex(container_id)
        if name in self._containers:
            self._find("identities", "DUPLICATE_ID", f"container {container_id} was used twice")
        self._containers.add(name)

    def _end_execution(self, leaf: Leaf, statement: StatementFacts | None) -> None:
        begun = self._open.pop(leaf.execution_id, None)
        if begun is None:
            known = int(leaf.execution_id.removeprefix("exec_"), 16) in self._ids
            code, what = ("DUPLICATE_ID", "ended before") if known else ("INCONSISTENT", "ended, never accepted")
            self._find("identities", code, f"{leaf.execution_id} {what}")
            return
        if statement is not None and statement.container_id is not None:
            self._take_container(statement.container_id)
        names = [] if leaf.seq == begun.seq else ["seq"]
        if statement is not None and begun.statement is not None:
            same = ["planned_by", "plan_digest", "nonce", "accepted_at"]
            # Another version, with its own manifest, records what a version left unfinished.
            same += ["manifest"] if statement.engine_version == begun.statement.engine_version else []
            names += (name for name in same if getattr(statement, name) != getattr(begun.statement, name))
        if names:
            differ = f"{leaf.execution_id}: its started entry in line {begun.line} differs in {', '.join(names)}"
            self._find("identities", "ID_MISMATCH", differ)

    def _judge_tree(self, header: ExportHeader, checkpoint: Checkpoint) -> None:
        if header.entries != checkpoint.size:
            detail = f"the header states {header.entries} entries, its checkpoint {checkpoint.size}"
            self._find("tree", "INCONSISTENT", detail, 1)
        if self.summary.entries != checkpoint.size:
            detail = f"the export has {self.summary.entries} entries, the checkpoint {checkpoint.size}"
            self._find("tree", "INCONSISTENT", detail)
        elif self._tree is not None and self._tree.root() != checkpoint.root:
            self._find("tree", "INCONSISTENT", "the entries do not lead to the root of the checkpoint", 1)

    def _judge_seen(self, checkpoint: Checkpoint) -> None:
        seen = self._seen
        if seen is None or seen.origin != checkpoint.origin:
            return
        if seen.size > checkpoint.size:
            detail = f"{seen.size} entries were seen before, but the ledger has {checkpoint.size}"
            self._find("last seen", "ROLLBACK", detail, 1)
        elif self._seen_root is not None and self._seen_root != seen.root:
            detail = f"another root over {seen.size} entries was seen before; keep both checkpoints as evidence"
            self._find("last seen", "FORK", detail, 1)

    def _judge_open(self, header: ExportHeader) -> None:
        self.summary.open = len(self._open)
        named = {each.execution_id: each.plan for each in header.open}
        # Nothing signs the header. So it may have only one form, or a reader could not know which plan is meant.
        if [each.execution_id for each in header.open] != [each for each in self._open if each in named]:
            detail = "the header's `open` is not a list of executions under way, each once, in order of acceptance"
            self._find("results", "INCONSISTENT", detail, 1)
        for execution_id, begun in self._open.items():
            statement, plan = begun.statement, named.get(execution_id)
            if plan is not None and statement is not None and plan.canonical_digest() != statement.plan_digest:
                self._find("results", "ID_MISMATCH", f"the header names {execution_id} with another plan", begun.line)
            if plan is None or not self._allow_open:
                when = "" if statement is None else f", accepted at {statement.accepted_at}"
                named_as = "is not named as under way either" if plan is None else "is named as under way"
                detail = f"{execution_id} (seq {begun.seq}{when}) has no result and {named_as}"
                self._find("results", "MISSING_RESULT", detail, begun.line)

    def _describe_lines(self) -> dict[str, str | None]:
        # The messages of the checks of all lines together, for those that found no fault.
        return {
            "entries": f"{self.summary.entries} entries, each with the leaf of its envelope",
            "tree": None if self._tree is None else "the entries lead to the root of the checkpoint",
            "last seen": self._describe_seen(),
            "statements": self._describe_statements(),
            "identities": f"{self.summary.executions} executions; ids and containers are used once, none ended twice",
            "sequence": f"1 to {self._seq} without gaps" if self._seq else "no execution",
            "results": self._describe_open(),
        }

    def _describe_seen(self) -> str:
        if self._seen is None:
            return "the trust file has no checkpoint"
        if self._checkpoint is None or self._seen.origin != self._checkpoint.origin:
            return "the trust file's checkpoint is of another ledger"
        return f"the first {self._seen.size} entries are unchanged"

    def _describe_statements(self) -> str:
        said = f"{self.summary.versions.total()} signed statements"
        brought = 0 if self._header is None else len(self._header.manifests)
        # The header comes before the entries, and may name a version that was released and has not run yet.
        unused = brought - len(self._manifests - {None})
        return said if unused < 1 else f"{said}; {unused} of {brought} manifests in the header are of none of them"

    def _describe_open(self) -> str:
        if self._open:
            return f"{len(self._open)} under way, as the exporter says: {', '.join(list(self._open)[:FINDINGS_MAX])}"
        return "every execution has its result"


def verify_log(lines: Iterable[bytes], trust: Trust, *, allow_open: bool = False) -> LogReport:
    """Verify an export.

    Args:
        lines: the lines, each with its newline. The caller bounds their length: a line longer than its kind's
            `MAX_BYTES` may be cut off where it is too long.
        trust: the caller's trust.
        allow_open: see ``LogVerifier``.
    """
    verifier = LogVerifier(trust, allow_open=allow_open)
    given = iter(lines)
    reader = verifier.begin(next(given, b""))
    if reader is not None:
        for line in given:
            verifier.add(reader.read(line))
            if verifier.is_over:
                break
    return verifier.finish()
