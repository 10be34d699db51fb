"""How a prompt reaches the model: through the model's chat template, or unchanged. Pure."""

from typing import Literal

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.run_request import RunRequest
from contracts.execution.runner_protocol import JobCommand
from supervisor.domain.errors import Refusal
from supervisor.domain.planning.grammars import write_grammar
from supervisor.domain.planning.installation import InstalledModel

__all__ = ["build_job", "choose_prompt_format"]


def choose_prompt_format(request: RunRequest, model: InstalledModel) -> Literal["chat", "raw"]:
    """Return the format of a request's prompt on a model.

    Raises:
        Refusal: ``chat_template_missing``; the request needs a chat template and the model has none.
    """
    wanted = request.execution.prompt_format
    if wanted == "raw":
        return "raw"
    if model.chat_template is not None:
        return "chat"
    if request.messages is not None:
        detail = f"the file of '{model.name}' carries no chat template, so it takes no messages; send a prompt"
        raise Refusal("chat_template_missing", detail, field="/messages")
    if wanted == "chat":
        detail = f"the file of '{model.name}' carries no chat template; use the prompt_format `auto` or `raw`"
        raise Refusal("chat_template_missing", detail, field="/execution/prompt_format")
    return "raw"


def build_job(request: RunRequest, plan: ExecutionPlan) -> JobCommand:
    """Return the job that carries a request's content to the runner, as the plan has resolved it."""
    is_chat = plan.prompt_format == "chat"
    return JobCommand(
        prompt=None if is_chat else request.prompt,
        messages=request.conversation if is_chat else None,
        parse_special=plan.parse_special,
        grammar=write_grammar(request.execution),
        max_tokens=plan.limits.max_tokens,
        seed=plan.seed,
        sampling=plan.sampling,
        stop=plan.stop,
    )
