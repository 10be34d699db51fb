"""The one error of set-up: what is missing, why it is needed and the command that puts it right."""

__all__ = ["SetupError"]


class SetupError(Exception):
    """Set-up cannot go on.

    Codes: source_fetch_failed, source_invalid, engine_missing, engine_start_failed, engine_unreachable,
    engine_failed, base_image_failed, image_build_failed, compile_failed, backend_unknown,
    definition_invalid, record_invalid, home_busy, home_unusable, gvisor_missing, consent_needed,
    engine_config_unsound.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
