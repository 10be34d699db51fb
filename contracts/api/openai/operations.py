"""The operations in OpenAI's shape, as data."""

from contracts.api.openai.answers import ChatCompletion, ChatCompletionChunk, Completion, OpenAiModel, OpenAiModelList
from contracts.api.openai.chat_request import ChatCompletionRequest
from contracts.api.openai.completion_request import CompletionRequest
from contracts.api.openai.errors import OpenAiErrorAnswer
from contracts.api.operation import Operation, Parameter
from contracts.api.run_operations import BODY_PROBLEMS, EXECUTION_PROBLEMS, IDEMPOTENCY_KEY, PLANNING_PROBLEMS

__all__ = ["EXECUTION_HEADER", "OPENAI_OPERATIONS", "STREAM_END"]

EXECUTION_HEADER = "WeOS-Execution-Id"
STREAM_END = "[DONE]"
MODEL = Parameter(
    "model",
    "path",
    "An installed model: `NAME:QUANTIZATION`, or `NAME` if it is installed in one quantization only.",
    {"type": "string", "minLength": 1},
    required=True,
    example="smollm2-135m-instruct",
)
# The request names neither an engine version nor an isolation tier, and the engine chooses the backend.
_NEVER = {"engine_version_mismatch", "unknown_backend", "unsupported_cpu", "unknown_scheduler_policy"}
_PROBLEMS = tuple(code for code in (*BODY_PROBLEMS, *PLANNING_PROBLEMS, *EXECUTION_PROBLEMS) if code not in _NEVER)
_EXECUTES = (
    "It is translated to a Run Request, and executed and recorded like one. The header "
    f'`{EXECUTION_HEADER}` names the execution, and the header `Link` (`rel="describedby"`) its signed record. '
    "With `stream`, the answer comes as server-sent events without names, and the last event's data is "
    f"`{STREAM_END}`. A failure during a stream is an event `error`, and nothing follows it."
)

OPENAI_OPERATIONS = (
    Operation(
        "createChatCompletion",
        "POST",
        "/openai/v1/chat/completions",
        "Answer a chat, in OpenAI's shape",
        f"Asks for the next turn of a conversation. {_EXECUTES}",
        {200: ("The execution completed.", ChatCompletion)},
        _PROBLEMS,
        request=ChatCompletionRequest,
        parameters=(IDEMPOTENCY_KEY,),
        events={"message": ChatCompletionChunk, "error": OpenAiErrorAnswer},
        last_data=STREAM_END,
        shape="openai",
        permission="run",
    ),
    Operation(
        "createCompletion",
        "POST",
        "/openai/v1/completions",
        "Continue a text, in OpenAI's shape",
        f"Asks for the continuation of a text, without a chat template. {_EXECUTES}",
        {200: ("The execution completed.", Completion)},
        _PROBLEMS,
        request=CompletionRequest,
        parameters=(IDEMPOTENCY_KEY,),
        events={"message": Completion, "error": OpenAiErrorAnswer},
        last_data=STREAM_END,
        shape="openai",
        permission="run",
    ),
    Operation(
        "listOpenAiModels",
        "GET",
        "/openai/v1/models",
        "List models, in OpenAI's shape",
        "All installed models.",
        {200: ("The models.", OpenAiModelList)},
        ("image_missing", "model_index_damaged"),
        shape="openai",
        permission="plan",
    ),
    Operation(
        "getOpenAiModel",
        "GET",
        "/openai/v1/models/{model}",
        "Show one model, in OpenAI's shape",
        "One installed model.",
        {200: ("The model.", OpenAiModel)},
        ("unknown_model", "unknown_quantization", "image_missing", "model_index_damaged"),
        parameters=(MODEL,),
        shape="openai",
        permission="plan",
    ),
)
