"""The demonstration's request, and the terms that a model asks its user to accept."""

import io
import json
from pathlib import Path

import pytest

from contracts.execution.run_request import RunRequest
from supervisor.adapters.home import Home
from supervisor.client.engine_client import EngineClient
from supervisor.commands.demo import DEMONSTRATIONS, accept_terms, build_demo_request, fit_to_machine
from supervisor.domain.errors import EngineError
from tests.supervisor_stand_in import StandIn

GEMMA = "gemma3-270m"


class Typed(io.StringIO):
    """Standard input at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("model", DEMONSTRATIONS)
def test_each_model_is_asked_by_a_sound_request_with_a_template(model: str) -> None:
    request = RunRequest.parse(json.dumps(build_demo_request(model, "cpu_avx512")).encode())
    assert (request.model, request.execution.backend, request.execution.prompt_format) == (model, "cpu_avx512", "auto")


def test_gemma_is_asked_what_the_specification_asks() -> None:
    assert build_demo_request(GEMMA, "cpu_avx2") == {
        "model": GEMMA,
        "prompt": "Explique inferência eficiente",
        "execution": {
            "backend": "cpu_avx2",
            "quantization": "q4_k_m",
            "scheduler_policy": "default",
            "limits": {"max_tokens": 256, "max_watts": 25},
        },
    }


def test_a_model_whose_template_instructs_it_badly_is_instructed() -> None:
    messages = build_demo_request("smollm2-135m-instruct", "cpu_avx2")["messages"]
    assert [each["role"] for each in messages] == ["system", "user"]


def test_a_model_without_terms_asks_nothing(tmp_path: Path) -> None:
    assert accept_terms(Home(tmp_path), "smollm2-135m-instruct", ()) == frozenset()


def test_terms_that_were_accepted_are_not_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Typed("n\n"))
    assert accept_terms(Home(tmp_path), GEMMA, ("gemma",)) == {"gemma"}
    assert capsys.readouterr().out == ""


def test_terms_are_shown_and_asked_for_at_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Typed("y\n"))
    assert accept_terms(Home(tmp_path), GEMMA, ()) == {"gemma"}
    assert "https://ai.google.dev/gemma/terms" in capsys.readouterr().out


@pytest.mark.parametrize("stdin", [Typed("n\n"), Typed("\n"), io.StringIO("y\n")], ids=["no", "nothing", "no terminal"])
def test_without_consent_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(EngineError, match="make run MODEL=gemma3-270m ACCEPT=gemma") as caught:
        accept_terms(Home(tmp_path), GEMMA, ())
    assert caught.value.code == "terms_not_accepted"


def test_a_power_limit_that_the_machine_cannot_keep_is_left_out_and_told(
    stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = EngineClient(Home(tmp_path / "home"))
    asked = build_demo_request(GEMMA, "cpu_avx2")
    assert fit_to_machine(client, asked)["execution"]["limits"] == {"max_tokens": 256, "max_watts": 25}
    assert capsys.readouterr().out == ""
    stand_in.plan_problem = {"code": "unknown_model", "detail": "another reason"}
    assert "max_watts" in fit_to_machine(client, asked)["execution"]["limits"]
    stand_in.plan_problem = {"code": "power_limit_unenforceable", "detail": "the lowest limit is 30 W"}
    assert fit_to_machine(client, asked)["execution"]["limits"] == {"max_tokens": 256}
    assert capsys.readouterr().out == "Without max_watts 25: the lowest limit is 30 W\n"
