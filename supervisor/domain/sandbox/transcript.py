"""The runner's events of one job; each event is checked for content and order before it counts."""

from contracts.execution.execution_plan import ExecutionPlan, PlannedModel
from contracts.execution.metrics import Measurements
from contracts.execution.runner_protocol import (
    DoneEvent,
    ErrorEvent,
    FinishReason,
    PromptEvent,
    ReadyEvent,
    RunnerEvent,
    TokenEvent,
)
from contracts.wire.units import NS_PER_S
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.ending import printable

__all__ = ["Transcript", "check_ready"]


# Errors that the runner may blame on the request; every other error is the engine's.
_CALLERS_FAULT = {"context_overflow", "empty_prompt", "template_refused", "template_failed", "grammar_invalid"}
# Field and explanation; the runner's own words may quote the prompt.
_DETAILS = {
    "empty_prompt": ("/prompt", "the model's tokenizer turns this prompt into no tokens"),
    "template_refused": (
        "/messages",
        "the model's chat template refuses these messages; many allow no `system` message, or demand that `user` and "
        "`assistant` take turns, `user` first",
    ),
    "template_failed": (
        "/execution/prompt_format",
        "the model's chat template cannot be rendered; use the prompt_format `raw` and write the turns yourself",
    ),
    "grammar_invalid": (
        "/execution/grammar",
        "llama.cpp cannot follow the grammar: it names a token that the model does not have, it is too large, or no "
        "token of the model can go on where the grammar is",
    ),
}
# These errors mean that no job was sent, so the runner may not report them after a job.
_BEFORE_THE_JOB = {"context_failed", "lockdown_failed", "model_load_failed"}


class Transcript:
    """Collects one job's events, each with its arrival in nanoseconds since the first byte of the job was sent."""

    def __init__(self, plan: ExecutionPlan) -> None:
        self._plan = plan
        self._max_tokens = plan.limits.max_tokens
        self._texts: list[str] = []
        self._token_times_ns: list[int] = []
        self._tokens_prompt: int | None = None
        self._prompt_done_ns: int | None = None
        self._finish_reason: FinishReason | None = None
        self.ready: ReadyEvent | None = None

    @property
    def finished(self) -> bool:
        """Whether the runner has reported that it is done."""
        return self._finish_reason is not None

    @property
    def output(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    def accept_ready(self, event: RunnerEvent) -> ReadyEvent:
        """Check the first event and return it.

        Raises:
            ExecutionFault: the event is not `ready`, or its backend or model differs from the plan's.
        """
        self.ready = check_ready(event, backend=self._plan.backend, model=self._plan.model)
        return self.ready

    def accept(self, event: RunnerEvent, at_ns: int) -> str:
        """Check the next event of the job and return the text that it adds.

        The time limit is checked here as well, because the loop passes on events that are already in the pipe before it
        looks at its own timer.

        Raises:
            ExecutionFault: the runner reported an error, the event is not allowed at this point, or it arrived after
                the time limit.
        """
        if at_ns > self._plan.limits.timeout_s * NS_PER_S:
            detail = f"the execution exceeded its time limit of {self._plan.limits.timeout_s} s"
            raise ExecutionFault("time_limit_exceeded", detail)
        match event:
            case ErrorEvent():
                if event.code in _BEFORE_THE_JOB or (event.code in _CALLERS_FAULT and self._tokens_prompt is not None):
                    raise _broken(f"`{event.code}` came too late")
                raise _fault_of(event, self._plan.model)
            case PromptEvent():
                self._accept_prompt(event, at_ns)
                return ""
            case TokenEvent():
                self._accept_token(event, at_ns)
            case DoneEvent():
                self._accept_done(event)
            case _:
                raise _broken("`ready` came twice")
        self._texts.append(event.text)
        return event.text

    def measurements(self) -> Measurements:
        """Return the raw integers so far."""
        return Measurements(
            tokens_prompt=self._tokens_prompt,
            prompt_done_ns=self._prompt_done_ns,
            token_times_ns=tuple(self._token_times_ns),
            finish_reason=self._finish_reason,
        )

    def _accept_prompt(self, event: PromptEvent, at_ns: int) -> None:
        if self._tokens_prompt is not None:
            raise _broken("`prompt` came twice")
        if event.tokens + self._max_tokens > self._plan.context_tokens:
            raise _broken("`prompt` reports a prompt that does not fit the context")
        self._tokens_prompt, self._prompt_done_ns = event.tokens, at_ns

    def _accept_token(self, event: TokenEvent, at_ns: int) -> None:
        if self._tokens_prompt is None:
            raise _broken("a token came before `prompt`")
        if event.index != len(self._token_times_ns):
            raise _broken("a token came out of order")
        if event.index >= self._max_tokens:
            raise _broken("more tokens came than were requested")
        self._token_times_ns.append(at_ns)

    def _accept_done(self, event: DoneEvent) -> None:
        if self._tokens_prompt is None:
            raise _broken("`done` came before `prompt`")
        if event.tokens != len(self._token_times_ns):
            raise _broken("`done` reports another number of tokens than came")
        if event.finish_reason == "length" and event.tokens != self._max_tokens:
            raise _broken("`done` claims a length that was not reached")
        if event.finish_reason == "stop" and not self._plan.stop:
            raise _broken("`done` claims a stop sequence, but the request has none")
        self._finish_reason = event.finish_reason


def check_ready(event: RunnerEvent, *, backend: str, model: PlannedModel) -> ReadyEvent:
    """Return the first event of a runner.

    Raises:
        ExecutionFault: the event is not `ready`, or it reports another backend or model.
    """
    if isinstance(event, ErrorEvent) and event.code not in _CALLERS_FAULT:
        raise _fault_of(event, model, words=printable(event.message))
    if not isinstance(event, ReadyEvent):
        raise _broken("an event came before `ready`")
    if event.backend != backend:
        raise _broken(f"the image reports that its backend is {event.backend}")
    loaded = event.model
    if (loaded.architecture, loaded.has_chat_template) != (model.architecture, model.chat_template is not None):
        raise _broken("the runner loaded another model than the plan's")
    return event


def _broken(what: str) -> ExecutionFault:
    return ExecutionFault("runner_failed", f"the runner broke its protocol: {what}")


def _fault_of(event: ErrorEvent, model: PlannedModel, *, words: str = "") -> ExecutionFault:
    # `words` are the runner's own. They are passed on only before the job, because later they could hold the prompt.
    said = f": {words}" if words else ""
    match event.code:
        case "context_overflow":
            tokens = "" if event.prompt_tokens is None else f" The prompt alone has {event.prompt_tokens} tokens."
            way_out = "Shorten the prompt, reduce max_tokens or increase context_tokens."
            detail = f"prompt and max_tokens together do not fit the context.{tokens} {way_out}"
            return ExecutionFault("context_overflow", detail, field="/execution/context_tokens")
        case "lockdown_failed":
            return ExecutionFault("lock_missing", "the job was not sent: the runner could not set its second lock")
        case "model_load_failed":
            return ExecutionFault("model_load_failed", f"llama.cpp cannot load the model '{model.name}'{said}")
        case "context_failed":
            detail = f"llama.cpp cannot make a context for the model '{model.name}'{said}"
            return ExecutionFault("model_load_failed", detail)
        case "out_of_memory":
            detail = f"llama.cpp got no memory for the model '{model.name}'{said}"
            return ExecutionFault("memory_limit_exceeded", detail)
        case code if code in _DETAILS:
            field, detail = _DETAILS[code]
            return ExecutionFault(code, detail, field=field)
        case _:
            return ExecutionFault("runner_failed", f"the runner reported: {event.code}")
