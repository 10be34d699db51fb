"""An answer as a person sees it: its text as it comes, then its metrics as a table."""

import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from supervisor.client.answers import Answer, explain_empty_answer, read_prompt_format
from supervisor.client.engine_client import EngineClient
from supervisor.console.printable import printable
from supervisor.console.waiting import show_waiting

__all__ = ["AnswerView", "execute_and_show"]


class AnswerView:
    """One request whose text is printed on standard output as it comes."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._answer = Answer(client)
        self._has_text = False

    @property
    def execution_id(self) -> str | None:
        """The execution; None: the request is not accepted yet."""
        return self._answer.execution_id

    def show(self, request: dict[str, Any] | bytes) -> dict[str, Any]:
        """Execute a request, print its text, and return the execution as `done` describes it.

        Raises:
            EngineError: the request was refused or did not complete.
        """
        with show_waiting(self._answer.describe_wait) as end_waiting:

            def take(text: str) -> None:
                end_waiting()
                self._print(text)

            try:
                view = self._answer.follow(request, take)
            except BaseException:
                end_waiting()
                if self._has_text:
                    click.echo()
                raise
        click.echo()
        if not (view["output"] or "").strip():
            prompt_format = read_prompt_format(self._client, view)
            click.echo(explain_empty_answer(prompt_format, view["metrics"]["finish_reason"]), err=True)
        return view

    def _print(self, text: str) -> None:
        # A pipe gets the text unchanged.
        click.echo(printable(text) if sys.stdout.isatty() else text, nl=False)
        sys.stdout.flush()
        self._has_text = self._has_text or bool(text)


def execute_and_show(client: EngineClient, request: dict[str, Any] | bytes) -> dict[str, Any]:
    """Execute a request, print its text as it comes and its metrics at the end; return the execution.

    Raises:
        EngineError: the request was refused or did not complete.
    """
    view = AnswerView(client).show(request)
    _show_metrics(view)
    return view


def _show_metrics(view: dict[str, Any]) -> None:
    click.echo(f"{view['execution_id']}  {view['status']}", err=True)
    table = Table(show_header=False)
    metrics = view["metrics"] or {}
    unmeasured = metrics.get("unmeasured", {})
    for name, value in metrics.items():
        if name == "unmeasured":
            continue
        shown = f"not measured: {unmeasured.get(name, '')}" if value is None else str(value)
        table.add_row(name, shown)
    if metrics.get("watts_source") == "model":
        table.caption = "watts are modelled from CPU time and a declared table, not measured"
    Console(stderr=True).print(table)
