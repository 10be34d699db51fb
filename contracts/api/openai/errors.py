"""Errors in OpenAI's shape: how a problem of the API is told to OpenAI's clients."""

import re
from http import HTTPStatus
from typing import Literal

from contracts.api.openai.shared_request import LIST, TEXT
from contracts.api.problem import PROBLEM_CODES, Problem
from contracts.wire.document import Contract
from contracts.wire.errors import FieldError

__all__ = ["OpenAiError", "OpenAiErrorAnswer", "codes_of", "error_of", "status_of"]

# Codes that OpenAI's clients know. Every other code is the problem's own.
_OPENAI_CODES = {
    "context_overflow": "context_length_exceeded",
    "limit_reached": "rate_limit_exceeded",
    "queue_full": "rate_limit_exceeded",
    "unauthorized": "invalid_api_key",
    "unknown_model": "model_not_found",
    "unknown_quantization": "model_not_found",
}
# LangChain and LiteLLM know an overflow of the context by these words.
_PREFIXES = {"context_overflow": "the prompt is too long: "}
# What `invalid_request` becomes, by the kind of fault; every other kind is an `invalid_value`.
_FAULT_CODES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}
_CALLERS_FAULT = "invalid_value"
_CANNOT = "unsupported_parameter"
# Why the engine cannot honour a field.
_UNSUPPORTED = {
    "annotations": "models read text only",
    "audio": "models read and write text only",
    "best_of": "one request has one answer; send several requests",
    "echo": "the answer does not repeat the prompt",
    "frequency_penalty": "this penalty cannot be applied",
    "function_call": "models call no functions",
    "functions": "models call no functions",
    "include_obfuscation": "chunks are never padded",
    "logit_bias": "single tokens cannot be made more or less probable",
    "logprobs": "probabilities of tokens are not reported",
    "modalities": "models write text only",
    "moderation": "nothing is moderated",
    "n": "one request has one answer; send several requests",
    "name": "chat templates know roles, not names; write the name into the content",
    "parallel_tool_calls": "models call no tools",
    "prediction": "predicted output is not used",
    "presence_penalty": "this penalty cannot be applied",
    "prompt_cache_options": "prompts are not cached",
    "prompt_cache_retention": "prompts are not cached",
    "reasoning_effort": "the effort of reasoning cannot be set",
    "refusal": "models write text only",
    "service_tier": "there is one tier, `default`",
    "store": "answers are not stored for later; every execution leaves a signed record in any case",
    "suffix": "text cannot be inserted before a suffix",
    "tool_calls": "models call no tools",
    "tool_choice": "models call no tools",
    "tools": "models call no tools",
    "top_logprobs": "probabilities of tokens are not reported",
    "verbosity": "the length of an answer cannot be set in words; use a maximum number of tokens",
    "web_search_options": "models have no access to a network",
}
_ROLES = "the roles are `system`, `developer`, `user` and `assistant`; models call no tools"
_PARTS = "parts of a message are of the type `text`; models read neither images nor audio nor files"
_PROMPTS = "it takes one text, as a string or as a list of one string; send several requests for several texts"
# Fields of a Run Request, and what they are called in OpenAI's shape.
_PARAMS = {
    "/execution/json_schema": "response_format",
    "/execution/quantization": "model",
}


class OpenAiError(Contract):
    """What went wrong."""

    message: str
    """What happened, why, and what to do next."""
    type: Literal["invalid_request_error", "requests", "server_error"]
    """`invalid_request_error`: the request cannot be served as it is. `requests`: too many executions are waiting, or
    the token has reached a limit. `server_error`: the engine or the machine is at fault."""
    param: str | None
    """The field at fault; null: none, or none can be named."""
    code: str
    """Stable identifier of the kind of error."""


class OpenAiErrorAnswer(Contract):
    """An error in OpenAI's shape."""

    error: OpenAiError
    """What went wrong."""


def status_of(code: str) -> int:
    """Return the HTTP status of a problem's code in OpenAI's shape: 404 for an unknown model, never 412 or 422."""
    if _OPENAI_CODES.get(code) == "model_not_found":
        return HTTPStatus.NOT_FOUND
    status = PROBLEM_CODES[code][0]
    is_refused = status in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.UNPROCESSABLE_ENTITY}
    return HTTPStatus.BAD_REQUEST if is_refused else status


def codes_of(code: str) -> tuple[str, ...]:
    """Return every code that a problem's code can become in OpenAI's shape."""
    if code == "invalid_request":
        return (_CALLERS_FAULT, _CANNOT, *_FAULT_CODES.values())
    return (_OPENAI_CODES.get(code, code),)


def error_of(problem: Problem) -> OpenAiErrorAnswer:
    """Return a problem in OpenAI's shape."""
    fault = problem.errors[0] if problem.errors else None
    if problem.code == "invalid_request" and fault is not None:
        param, code, message = _explain(fault)
    else:
        param = None if fault is None else _param_of(fault.field)
        code, message = codes_of(problem.code)[0], _PREFIXES.get(problem.code, "") + problem.detail
    if problem.available:
        message += f"; there is: {', '.join(problem.available)}"
    return OpenAiErrorAnswer(error=OpenAiError(message=message, type=_type_of(problem), param=param, code=code))


def _type_of(problem: Problem) -> Literal["invalid_request_error", "requests", "server_error"]:
    if problem.code in {"limit_reached", "queue_full"}:
        return "requests"
    is_ours = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return "server_error" if is_ours else "invalid_request_error"


def _param_of(pointer: str) -> str | None:
    """Return a JSON Pointer as OpenAI writes it: `messages[0].content`."""
    if not pointer.startswith("/"):
        return pointer or None
    if pointer in _PARAMS:
        return _PARAMS[pointer]
    parts = [each for each in _names(pointer) if each not in {TEXT, LIST}]
    if parts[0] == "execution":
        parts = parts[-1:]
    return re.sub(r"\.([0-9]+)(?=\.|\Z)", r"[\1]", ".".join(parts))


def _names(pointer: str) -> list[str]:
    return [each.replace("~1", "/").replace("~0", "~") for each in pointer.split("/")[1:]]


def _explain(fault: FieldError) -> tuple[str | None, str, str]:
    """Return field, code and message of a fault in a request in OpenAI's shape."""
    param = _param_of(fault.field)
    if fault.code == "missing":
        return param, _FAULT_CODES[fault.code], f"`{param}` is required"
    if fault.code == "extra_forbidden":
        return param, _FAULT_CODES[fault.code], f"`{param}` is no field of this call and would have no effect"
    why = _why_unsupported(_names(fault.field))
    if why is not None:
        return param, _CANNOT, f"the value of `{param}` cannot be honoured: {why}"
    message = fault.message.removeprefix("Value error, ")
    if fault.field.startswith("/prompt") and fault.code in {"too_long", "string_type"}:
        message = _PROMPTS
    return param, _CALLERS_FAULT, message if param is None else f"`{param}`: {message}"


def _why_unsupported(names: list[str]) -> str | None:
    top, last = (names[0], names[-1]) if names else ("", "")
    if top == "messages":
        return {"role": _ROLES, "type": _PARTS, **_UNSUPPORTED}.get(last)
    return _UNSUPPORTED.get(last if top == "stream_options" else top)
