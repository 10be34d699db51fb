"""Errors as OpenAI's clients expect them."""

from aiohttp import web

from contracts.api.openai.errors import error_of, status_of
from contracts.api.problem import Problem
from supervisor.api.problems import headers_of

__all__ = ["answer_openai_error", "is_openai"]

ROOT = "/openai/"


def is_openai(path: str) -> bool:
    """Return whether the answers of a path have OpenAI's shape."""
    return path.startswith(ROOT)


def answer_openai_error(problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    """Return the response that carries a problem in OpenAI's shape, with the headers that belong to its code."""
    extra = {**(headers or {}), **headers_of(problem)}
    if problem.execution_id is not None:
        # OpenAI's clients repeat a request after 409 and 5xx. This one was executed, and its record says how it ended.
        extra["x-should-retry"] = "false"
    return web.Response(
        body=error_of(problem).model_dump_json().encode("utf-8"),
        status=status_of(problem.code),
        content_type="application/json",
        headers=extra,
    )
