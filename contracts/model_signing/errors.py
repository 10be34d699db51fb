"""The error raised when a model's signature is refused."""

__all__ = ["ModelSignatureError"]


class ModelSignatureError(Exception):
    """A signature does not prove what it should; the message says why, in one sentence.

    Attributes:
        code: ``signature_refused``.
    """

    code = "signature_refused"
