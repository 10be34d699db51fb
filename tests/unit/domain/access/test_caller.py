import pytest

from contracts.wire.types import Permission
from supervisor.domain.access.caller import Caller
from supervisor.domain.errors import PermissionRefusal, Refusal
from supervisor.domain.policies.roles import CallerLimits


def allowed(*permissions: Permission) -> Caller:
    return Caller("experimenter", "mine", frozenset(permissions), CallerLimits())


def test_what_the_role_allows_is_no_refusal() -> None:
    allowed("plan").require("plan")


def test_a_missing_permission_is_named_with_token_and_role() -> None:
    with pytest.raises(PermissionRefusal, match=r"'mine' has the role 'experimenter', which lacks .*'run'") as caught:
        allowed("plan").require("run")
    assert (caught.value.code, caught.value.permission) == ("permission_missing", "run")


def test_a_caller_sees_its_own_executions_and_nobody_elses() -> None:
    assert allowed("read_own").sees_only == "mine"
    allowed("read_own").require_visible("mine")
    with pytest.raises(Refusal, match="no execution has this id"):
        allowed("read_own").require_visible("another")


def test_read_all_shows_everybodys() -> None:
    assert allowed("read_own", "read_all").sees_only is None
    allowed("read_own", "read_all").require_visible("another")


def test_an_execution_that_may_be_read_is_cancelled_only_with_the_permission_for_it() -> None:
    allowed("read_own", "cancel_own").require_cancellable("mine")
    with pytest.raises(PermissionRefusal, match="cancel_own"):
        allowed("read_own").require_cancellable("mine")
    with pytest.raises(Refusal, match="no execution has this id"):
        allowed("read_own", "cancel_own").require_cancellable("another")
    with pytest.raises(PermissionRefusal, match="cancel_all"):
        allowed("read_own", "read_all", "cancel_own").require_cancellable("another")
    allowed("read_own", "read_all", "cancel_own", "cancel_all").require_cancellable("another")
