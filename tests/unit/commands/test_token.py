"""`weos-engine token`."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from supervisor.adapters.home import Home
from supervisor.adapters.identity.tokens import TokenFileCallers
from supervisor.commands.token import command
from supervisor.domain.errors import EngineError
from supervisor.domain.policies.roles import CallerLimits
from tests.fakes.installation import fixed_installation


def token(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def name_of(home: Home, shown: str) -> str | None:
    caller = TokenFileCallers(home, fixed_installation().policies.roles).find(shown.encode())
    return None if caller is None else caller.name


def test_a_token_is_shown_once_alone_on_standard_output(empty_home: Home) -> None:
    made = token("create", "observer")
    assert made.exit_code == 0
    assert name_of(empty_home, made.stdout.strip()) == "observer"
    assert "it is not shown again" in made.stderr
    assert made.stdout.strip() not in token("list").output


def test_a_token_can_go_into_a_file_for_its_owner_alone(empty_home: Home, tmp_path: Path) -> None:
    path = tmp_path / "agent.token"
    made = token("create", "optimizer", "--name", "tuner", "--file", str(path))
    assert (made.exit_code, made.stdout) == (0, "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert name_of(empty_home, path.read_text().strip()) == "tuner"
    again = token("create", "optimizer", "--name", "second", "--file", str(path))
    assert again.exit_code == click.UsageError.exit_code
    assert [line.split()[0] for line in token("list").stdout.splitlines()] == ["name", "operator", "tuner"]


def test_a_token_can_be_given_limits_of_its_own(empty_home: Home) -> None:
    given = (
        "--requests-per-minute",
        "1",
        "--executions-at-once",
        "2",
        "--tokens-per-day",
        "3",
        "--joules-per-day",
        "4",
    )
    shown = token("create", "experimenter", *given).stdout.strip()
    caller = TokenFileCallers(empty_home, fixed_installation().policies.roles).find(shown.encode())
    assert caller is not None
    assert caller.limits == CallerLimits(
        requests_per_minute=1, executions_at_once=2, tokens_per_day=3, joules_per_day=4
    )
    assert token("create", "observer", "--joules-per-day", "0").exit_code == click.UsageError.exit_code


@pytest.mark.parametrize("arguments", [("admin",), ("observer", "--name", "Ä"), ("observer", "--name", "")])
def test_a_wrong_role_or_name_makes_nothing(empty_home: Home, arguments: tuple[str, ...]) -> None:
    assert token("create", *arguments).exit_code == click.UsageError.exit_code
    assert not empty_home.tokens_file.exists()


def test_a_revoked_token_is_refused_and_listed_as_revoked(empty_home: Home) -> None:
    shown = token("create", "observer", "--name", "one").stdout.strip()
    assert token("revoke", "one").exit_code == 0
    assert name_of(empty_home, shown) is None
    assert token("list").stdout.splitlines()[-1].split()[-1] != "-"


@pytest.mark.parametrize(("name", "what"), [("operator", "remove it"), ("stranger", "no token 'stranger'")])
def test_what_cannot_be_revoked_is_said(empty_home: Home, name: str, what: str) -> None:
    del empty_home
    refused = token("revoke", name).exception
    assert isinstance(refused, EngineError)
    assert refused.code == "token_unknown"
    assert what in refused.detail
