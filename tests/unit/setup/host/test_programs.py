import sys

import pytest

from supervisor.domain.errors import SetupError
from supervisor.setup.host.programs import find_program, run_command


def test_output_is_handed_over_line_by_line() -> None:
    lines: list[str] = []
    command = (sys.executable, "-c", "print('one'); print('two')")
    run_command(command, timeout_s=60, code="c", purpose="test", on_line=lines.append)
    assert lines == ["one", "two"]


def test_a_failure_has_the_purpose_the_status_and_the_last_lines() -> None:
    script = "import sys; print(*range(100), sep='\\n', flush=True); print('the reason', file=sys.stderr); sys.exit(3)"
    with pytest.raises(SetupError, match=r"(?s)cannot test it.*status 3.*the reason") as caught:
        run_command((sys.executable, "-c", script), timeout_s=60, code="c", purpose="test it")
    assert caught.value.code == "c"
    assert "\n  50\n" not in caught.value.detail


def test_a_program_and_its_children_end_at_the_deadline() -> None:
    # The child holds the pipe open: were it left alive, this would wait for ten minutes.
    script = "import subprocess; subprocess.run(['sleep', '600'])"
    with pytest.raises(SetupError, match="status -9"):
        run_command((sys.executable, "-c", script), timeout_s=0.5, code="c", purpose="test")


def test_a_program_that_is_not_there_is_named_with_what_it_is_for() -> None:
    with pytest.raises(SetupError, match=r"no-such-program cannot be run .* needed to test"):
        run_command(("no-such-program",), timeout_s=1, code="c", purpose="test")


def test_the_administrators_programs_are_found_without_their_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_program("ldconfig") is not None
    assert find_program("no-such-program") is None
