"""The one root of the engine's errors.

``EngineError`` carries a stable ``code`` and a ``detail`` for a person. ``Refusal`` means that nothing was accepted;
``ExecutionFault`` ends an accepted execution and goes into its record. Codes that the API can answer with are those of
``contracts.api.problem.PROBLEM_CODES``. The command line prints any code, among them those of ``SetupError``.
"""

from contracts.wire.errors import FieldError

__all__ = [
    "EngineError",
    "ExecutionFault",
    "Refusal",
    "SetupError",
    "StorageError",
]


class EngineError(Exception):
    """Something that a caller is told, with a stable code."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        available: tuple[str, ...] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.available = available
        self.retry_after_s = retry_after_s
        self.errors: tuple[FieldError, ...] = ()
        if field is not None:
            self.errors = (FieldError(field=field, code=code, message=detail),)


class Refusal(EngineError):
    """The request is not accepted; nothing was executed and there is no record."""


class ExecutionFault(EngineError):
    """An accepted execution cannot complete; its record says why."""


class StorageError(EngineError):
    """The store could not do what it was told; nothing half-done remains."""


class SetupError(EngineError):
    """Set-up cannot go on.

    Codes: source_fetch_failed, source_invalid, engine_missing, engine_start_failed, engine_unreachable,
    engine_unsupported, engine_failed, base_image_failed, image_build_failed, compile_failed, backend_unknown,
    definition_invalid, record_invalid, home_busy, home_unusable, gvisor_missing, consent_needed,
    engine_config_unsound.
    """
