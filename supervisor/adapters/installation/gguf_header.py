"""The head of a model file, read from disk and judged."""

from pathlib import Path

from supervisor.adapters.installation.gguf_file import MAX_HEAD_BYTES, parse_gguf
from supervisor.domain.errors import EngineError
from supervisor.domain.models.gguf_head import GgufError, GgufHead
from supervisor.domain.models.judgement import judge_head
from supervisor.domain.models.model_header import GgufHeader

__all__ = ["GgufHeader", "read_gguf_head", "read_gguf_header"]


def _refuse(path: Path, why: str) -> EngineError:
    return EngineError("model_refused", f"{path.name} is refused: {why}")


def read_gguf_head(path: Path) -> GgufHead:
    """Read what a model file declares.

    Raises:
        EngineError: ``model_refused``; it is no GGUF model.
    """
    with path.open("rb") as file:
        head, file_bytes = file.read(MAX_HEAD_BYTES), path.stat().st_size
    try:
        return parse_gguf(head, file_bytes)
    except GgufError as error:
        raise _refuse(path, f"it is not a readable GGUF model: {error}") from error


def read_gguf_header(path: Path) -> GgufHeader:
    """Read a model file's head and hold it against the tensors.

    Raises:
        EngineError: ``model_refused``; it is no model that llama.cpp can generate text with, or is not what it says.
    """
    parsed = read_gguf_head(path)
    try:
        return judge_head(parsed)
    except GgufError as error:
        raise _refuse(path, str(error)) from error
