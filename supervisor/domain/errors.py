"""The one root of the engine's errors.

``EngineError`` carries a stable ``code`` and a ``detail`` for a person. ``Refusal`` means that nothing was accepted;
``ExecutionFault`` ends an accepted execution and goes into its record. Codes that the API can answer with are those of
``contracts.api.problem.PROBLEM_CODES``. The command line prints any code, among them those of ``SetupError``.
"""

from contracts.api.problem import LimitReached
from contracts.wire.errors import FieldError
from contracts.wire.types import Permission

__all__ = [
    "EngineError",
    "ExecutionFault",
    "LimitRefusal",
    "PermissionRefusal",
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


class PermissionRefusal(Refusal):
    """The role of the caller's token does not allow the request; code ``permission_missing``."""

    def __init__(self, permission: Permission, detail: str) -> None:
        super().__init__("permission_missing", detail)
        self.permission: Permission = permission


class LimitRefusal(Refusal):
    """The caller's token has reached one of its limits; code ``limit_reached``."""

    def __init__(self, limit: LimitReached, detail: str, *, retry_after_s: int) -> None:
        super().__init__("limit_reached", detail, retry_after_s=retry_after_s)
        self.limit = limit


class ExecutionFault(EngineError):
    """An accepted execution cannot complete; its record says why."""


class StorageError(EngineError):
    """The store could not do what it was told; nothing half-done remains."""


class SetupError(EngineError):
    """Set-up cannot go on.

    Codes: source_fetch_failed, source_invalid, engine_missing, engine_start_failed, engine_unreachable,
    engine_forbidden, engine_unsupported, engine_failed, base_image_failed, image_build_failed, compile_failed,
    backend_unknown,
    definition_invalid, record_invalid, home_busy, home_unusable, gvisor_missing, consent_needed,
    engine_config_unsound, machine_unsuitable, unsupported_cpu.
    """
