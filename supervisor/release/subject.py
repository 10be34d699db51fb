"""The engine under trial: requests through its API, and verification of every record."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from contracts.api.responses import RunView, VersionView
from contracts.execution.metrics_record import MetricsRecord
from contracts.releases.reports import ComparedModel
from contracts.verify.record import verify_record
from contracts.verify.trust import Trust, TrustedKey
from contracts.wire.errors import ContractError
from contracts.wire.types import IsolationTier
from supervisor.client.engine_client import Answer
from supervisor.client.event_stream import StreamEvent

__all__ = ["Broken", "Executed", "Subject"]


ERROR_STATUS = 400


class EngineApi(Protocol):
    """The part of `supervisor.client.EngineClient` that a trial uses."""

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Return the answer to one request, even if it is a refusal."""
        ...

    def stream_run(self, request: dict[str, Any] | bytes) -> Iterator[StreamEvent]:
        """Execute a request and yield its events."""
        ...


class Broken(Exception):
    """A property does not hold; the text says what was observed instead."""


@dataclass(frozen=True, slots=True)
class Executed:
    """One execution that has ended, and its verified record."""

    record: MetricsRecord
    envelope: bytes
    output: str


def merge(document: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with nested values replaced."""
    merged = dict(document)
    for name, value in changes.items():
        inner = merged.get(name)
        merged[name] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


@dataclass(frozen=True, slots=True)
class Subject:
    """One backend in one tier of a running supervisor."""

    api: EngineApi
    version: VersionView
    backend: str
    isolation: IsolationTier
    model: ComparedModel

    def request(self, prompt: str, **execution: Any) -> dict[str, Any]:  # noqa: ANN401 - any part of a request
        """Return a Run Request with parts of `execution` replaced.

        The model continues the prompt (`raw`), so that an execution lasts as long as its limits say.
        """
        document = {
            "model": self.model.name,
            "prompt": prompt,
            "execution": {
                "backend": self.backend,
                "quantization": self.model.quantization,
                "isolation": self.isolation,
                "limits": {"max_tokens": 16},
                "prompt_format": "raw",
            },
        }
        return merge(document, {"execution": execution})

    def post(self, document: dict[str, Any] | bytes, path: str = "/v1/runs", **headers: str) -> Answer:
        """Send a document and return the answer, even if it is a refusal."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode("utf-8")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.ask("POST", path, body, {"Content-Type": "application/json", **sent})

    def execute(self, prompt: str, **execution: Any) -> Executed:  # noqa: ANN401 - any part of a request
        """Execute a request that must complete."""
        return self.completed(self.post(self.request(prompt, **execution)))

    def completed(self, answer: Answer) -> Executed:
        """Return the execution of an answer; the execution must have completed."""
        view = self.view_of(answer)
        if view.status != "completed" or view.output is None:
            raise Broken(f"an execution that must complete ended as {view.status}")
        return Executed(*self.verified(view.execution_id), view.output)

    def view_of(self, answer: Answer) -> RunView:
        """Return the execution that an answer shows, checked against the contract."""
        if answer.status >= ERROR_STATUS:
            raise Broken(f"the API answered {answer.status} {answer.document.get('code')}")
        try:
            return RunView.parse(answer.body)
        except ContractError as error:
            raise Broken(f"the answer violates its contract: {error}") from error

    def verified(self, execution_id: str) -> tuple[MetricsRecord, bytes]:
        """Return the record of an ended execution, which must be VALID under the engine's key."""
        envelope = self.api.ask("GET", f"/v1/runs/{execution_id}/record").body
        key = TrustedKey(engine_version=self.version.engine_version, public_key=self.version.public_key)
        report = verify_record(envelope, Trust(schema_version="weos.trust/1", keys=(key,)))
        if report.verdict != "VALID" or report.record is None:
            raise Broken(f"the record is {report.verdict}: {report.checks[-1].message}")
        return report.record, envelope

    def require_refused(self, answer: Answer, code: str) -> None:
        """Raise unless the request was refused with this code."""
        found = answer.document.get("code")
        if answer.status < ERROR_STATUS or found != code:
            raise Broken(f"{code} was expected, but the API answered {answer.status} {found}")
