"""What is said where the threads of a sandbox cannot be placed."""

import logging
from typing import Any, cast

import pytest

from supervisor.adapters.docker import container
from supervisor.adapters.docker.container import DockerSandbox, StartedContainer


@pytest.mark.parametrize(("error", "names_the_capability"), [(PermissionError(), True), (ProcessLookupError(), False)])
def test_a_missing_capability_is_named_where_threads_cannot_be_kept_apart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: OSError, names_the_capability: bool
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(container, "keep_apart", refuse)
    nothing = cast("Any", None)
    started = StartedContainer(0, "sha256:1", {}, None, None, 0)
    sandbox = DockerSandbox("c", started, nothing, model="m", ask_exit_status=nothing, mapped_files=nothing)
    with caplog.at_level(logging.WARNING):
        sandbox.spread(((0,), (1,)))
    assert "cannot be kept apart" in caplog.text
    assert ("--cap-add SYS_NICE" in caplog.text) is names_the_capability
