"""What users' programs do with OpenAI's clients, run as a program of its own: `python program.py CLIENT URL KEY`.

It prints a JSON object: what each step returned, or which exception of the client it raised. The clients are installed
apart from the tests (`make clients`), so that no test may import this module.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import openai
from pydantic import BaseModel

NAME = "smollm2-135m-instruct"
MODEL = f"{NAME}:q4_1"


class City(BaseModel):
    """A city."""

    name: str
    population: int


def said(text: str) -> list[Any]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


class OpenAiSteps:
    """OpenAI's own client; each method without an underscore is a step."""

    def __init__(self, url: str, key: str) -> None:
        self._place = {"base_url": f"{url}/openai/v1", "api_key": key}
        self._client = openai.OpenAI(**self._place)
        self._chat = self._client.chat.completions

    def _ask(self, text: str = "Hello", model: str = NAME, **more: Any) -> Any:
        return self._chat.create(model=model, messages=said(text), **more)

    def _complete(self, **more: Any) -> Any:
        return self._client.completions.create(model=MODEL, prompt="Once upon", **more)

    def models(self) -> Any:
        return [model.id for model in self._client.models.list()]

    def model(self) -> Any:
        return self._client.models.retrieve(NAME).id

    def chat(self) -> Any:
        return self._ask()

    def headers(self) -> Any:
        answer = self._chat.with_raw_response.create(model=NAME, messages=said("Hello"))
        return [answer.parse().id, answer.headers["WeOS-Execution-Id"], answer.headers["Link"]]

    def conversation(self) -> Any:
        turns = said("Hello")
        for _ in range(2):
            turns += [self._chat.create(model=NAME, messages=turns).choices[0].message, *said("And now?")[1:]]
        return self._chat.create(model=NAME, messages=turns).choices[0].message.content

    def stream(self) -> Any:
        return list(self._ask(stream=True))

    def stream_with_usage(self) -> Any:
        return list(self._ask(stream=True, stream_options={"include_usage": True}))[-1].usage

    def final_of_stream(self) -> Any:
        with self._chat.stream(model=NAME, messages=said("Hello")) as stream:
            return stream.get_final_completion().choices[0].message.content

    def asynchronous_stream(self) -> Any:
        async def read() -> str:
            async with openai.AsyncOpenAI(**self._place) as client:
                stream = await client.chat.completions.create(model=NAME, messages=said("Hello"), stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        return asyncio.run(read())

    def parsed(self) -> Any:
        return self._chat.parse(model=NAME, messages=said("JSON"), response_format=City).choices[0].message.parsed

    def every_field(self) -> Any:
        honoured: dict[str, Any] = {
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 7,
            "stop": ["x"],
            "max_completion_tokens": 1,
        }
        return self._ask(**honoured, n=1, user="me", store=False).choices[0].finish_reason

    def completion(self) -> Any:
        return self._complete(max_tokens=8).choices[0].text

    def completion_stream(self) -> Any:
        return "".join(chunk.choices[0].text for chunk in self._complete(stream=True))

    def repeated(self) -> Any:
        return [self._ask(extra_headers={"Idempotency-Key": "one"}).id for _ in range(2)]

    def left_early(self) -> Any:
        stream = self._ask("HOLD", stream=True)
        ids = [next(stream).id for _ in range(2)]
        stream.close()
        return ids[1]

    def broken_stream(self) -> Any:
        text = ""
        try:
            for chunk in self._ask("BREAK", stream=True):
                text += chunk.choices[0].delta.content or ""
        except openai.APIError as error:
            return [text, type(error).__name__, error.code]
        return text

    def broken(self) -> Any:
        return self._ask("BREAK ONCE")

    def too_long(self) -> Any:
        return self._ask("OVERFLOW")

    def unknown_model(self) -> Any:
        return self._ask(model="gpt-4o")

    def unknown_model_to_retrieve(self) -> Any:
        return self._client.models.retrieve("gpt-4o")

    def wrong_key(self) -> Any:
        return self._client.with_options(api_key="sk-wrong").models.list().data

    def tools(self) -> Any:
        return self._ask(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])

    def two_answers(self) -> Any:
        return self._ask(n=2)

    def unknown_path(self) -> Any:
        return self._client.embeddings.create(model=NAME, input="Hello")


class LangChainSteps:
    """LangChain's `ChatOpenAI` and `OpenAI`."""

    def __init__(self, url: str, key: str) -> None:
        import langchain_openai  # noqa: PLC0415 - one client a process: importing each takes seconds

        self._place = {"base_url": f"{url}/openai/v1", "api_key": key}
        self._library = langchain_openai
        self._chat = self._library.ChatOpenAI(model=NAME, **self._place)

    def invoke(self) -> Any:
        return self._chat.invoke("Hello").content

    def described(self) -> Any:
        answer = self._chat.invoke("Hello")
        kept = answer.response_metadata
        return [kept["model_name"], kept["finish_reason"], answer.usage_metadata["total_tokens"]]

    def conversation(self) -> Any:
        turns: list[Any] = [("system", "Be brief."), ("human", "Hello")]
        return self._chat.invoke([*turns, self._chat.invoke(turns), ("human", "And now?")]).content

    def every_field(self) -> Any:
        fields = {"temperature": 0, "top_p": 0.5, "seed": 3, "stop": ["x"], "max_tokens": 1}
        chat = self._library.ChatOpenAI(model=MODEL, **fields, **self._place)
        return chat.invoke("Hello").response_metadata["finish_reason"]

    def stream(self) -> Any:
        return "".join(chunk.content for chunk in self._chat.stream("Hello"))

    def stream_with_usage(self) -> Any:
        chunks = self._chat.stream("Hello", stream_usage=True)
        return [each.usage_metadata["total_tokens"] for each in chunks if each.usage_metadata]

    def batch(self) -> Any:
        return [answer.content for answer in self._chat.batch(["Hello"] * 3)]

    def json_schema(self) -> Any:
        return self._chat.with_structured_output(City, method="json_schema").invoke("JSON")

    def json_mode(self) -> Any:
        return self._chat.with_structured_output(City, method="json_mode").invoke("JSON")

    def completion(self) -> Any:
        return self._library.OpenAI(model=NAME, **self._place).invoke("Once upon")

    def too_long(self) -> Any:
        return self._chat.invoke("OVERFLOW")

    def unknown_model(self) -> Any:
        return self._library.ChatOpenAI(model="gpt-4o", **self._place).invoke("Hello")

    def tools(self) -> Any:
        return self._chat.bind_tools([City]).invoke("Hello")


class LiteLlmSteps:
    """LiteLLM."""

    def __init__(self, url: str, key: str) -> None:
        import litellm  # noqa: PLC0415 - one client a process: importing each takes seconds

        litellm.suppress_debug_info = True
        self._library = litellm
        self._place = {"api_base": f"{url}/openai/v1", "api_key": key}

    def _ask(self, text: str = "Hello", **more: Any) -> Any:
        asked = {"model": f"openai/{NAME}", "messages": said(text), **self._place, **more}
        return self._library.completion(**asked)

    def chat(self) -> Any:
        answer = self._ask()
        return [answer.choices[0].message.content, answer.usage.total_tokens]

    def every_field(self) -> Any:
        return self._ask(temperature=0, top_p=0.5, seed=1, max_tokens=1, stop="x").choices[0].finish_reason

    def stream(self) -> Any:
        return "".join(chunk.choices[0].delta.content or "" for chunk in self._ask(stream=True))

    def stream_with_usage(self) -> Any:
        return list(self._ask(stream=True, stream_options={"include_usage": True}))[-1].usage.total_tokens

    def parsed(self) -> Any:
        return json.loads(self._ask("JSON", response_format=City).choices[0].message.content)

    def completion(self) -> Any:
        model = f"text-completion-openai/{MODEL}"
        return self._library.text_completion(model=model, prompt="Once upon", **self._place).choices[0].text

    def too_long(self) -> Any:
        return self._ask("OVERFLOW")

    def broken_stream(self) -> Any:
        return len(list(self._ask("BREAK", stream=True)))

    def unknown_model(self) -> Any:
        return self._ask(model="openai/gpt-none")

    def wrong_key(self) -> Any:
        return self._ask(api_key="sk-wrong")

    def two_answers(self) -> Any:
        return self._ask(n=2)


CLIENTS: dict[str, Callable[[str, str], object]] = {
    "langchain": LangChainSteps,
    "litellm": LiteLlmSteps,
    "openai": OpenAiSteps,
}


def outcome_of(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except Exception as error:  # noqa: BLE001 - what a client raises is what is looked at
        fields = {name: getattr(error, name, None) for name in ("status_code", "code", "param")}
        kinds = [each.__name__ for each in type(error).__mro__]
        return {"error": kinds[0], "kinds": kinds, "message": str(error), **fields}


def document_of(model: BaseModel) -> Any:
    return model.model_dump(mode="json", exclude_unset=True)


def main(client: str, url: str, key: str) -> None:
    steps = inspect.getmembers(CLIENTS[client](url, key), inspect.ismethod)
    outcomes = {name: outcome_of(step) for name, step in steps if not name.startswith("_")}
    sys.stdout.write(json.dumps(outcomes, default=document_of))


if __name__ == "__main__":
    main(*sys.argv[1:])
