"""What is said where the threads of a sandbox cannot be placed, or their filters not be read."""

import errno
import logging
from typing import Any, cast

import pytest

from supervisor.adapters.docker import container
from supervisor.adapters.docker.container import DockerSandbox, StartedContainer
from supervisor.domain.errors import ExecutionFault


def started_sandbox() -> DockerSandbox:
    nothing = cast("Any", None)
    started = StartedContainer(0, "sha256:1", {}, None, None, 0)
    return DockerSandbox("c", started, nothing, model="m", ask_exit_status=nothing, mapped_files=nothing)


@pytest.mark.parametrize(("error", "names_the_capability"), [(PermissionError(), True), (ProcessLookupError(), False)])
def test_a_missing_capability_is_named_where_threads_cannot_be_kept_apart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: OSError, names_the_capability: bool
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(container, "keep_apart", refuse)
    sandbox = started_sandbox()
    with caplog.at_level(logging.WARNING):
        sandbox.spread(((0,), (1,)))
    assert "cannot be kept apart" in caplog.text
    assert ("--cap-add SYS_NICE" in caplog.text) is names_the_capability


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ETIMEDOUT, errno.ESRCH])
async def test_only_a_supervisor_that_may_not_read_filters_goes_on_without(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(_pid: int, *, timeout_s: float) -> None:
        assert timeout_s > 0
        raise OSError(number, "words of the kernel")

    monkeypatch.setattr(container, "read_filter_chains", refuse)
    if number == errno.EACCES:
        assert await started_sandbox().read_filters() is None
    else:
        with pytest.raises(ExecutionFault, match="words of the kernel") as caught:
            await started_sandbox().read_filters()
        assert caught.value.code == "lock_missing"
