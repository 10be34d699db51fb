"""Lock one: `seccomp.json`, a system call filter in the container engine's format, restricted to a strict shape."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from contracts.wire.canonical import MAX_SAFE_INTEGER, canonical_bytes
from contracts.wire.document import Contract
from contracts.wire.types import IsolationTier

__all__ = ["CallName", "SeccompProfile", "SeccompRule"]

CallName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
ArgumentValue = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]


class SeccompArgument(Contract):
    """A condition on one argument; all conditions of a rule must hold."""

    index: Annotated[int, Field(ge=0, le=5)]
    """Index of the argument."""
    value: ArgumentValue
    """The value that the argument must equal; with `SCMP_CMP_MASKED_EQ` the mask."""
    valueTwo: ArgumentValue | None = None  # noqa: N815 - the container engine's name
    """The value that the masked argument must equal."""
    op: Literal["SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"]
    """The comparison. Only equality is accepted, since an allowlist names what it allows."""

    @model_validator(mode="after")
    def _second_value_goes_with_mask(self) -> Self:
        if (self.valueTwo is not None) != (self.op == "SCMP_CMP_MASKED_EQ"):
            message = "valueTwo must be set if op is SCMP_CMP_MASKED_EQ, and only then"
            raise ValueError(message)
        return self


class SeccompRule(Contract):
    """System calls that are treated alike."""

    comment: Annotated[str, StringConstraints(min_length=1)]
    """The reason for the rule; not passed to the container engine."""
    names: Annotated[tuple[CallName, ...], Field(min_length=1)]
    """Names of the calls."""
    action: Literal["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"]
    """Whether the calls are allowed."""
    errnoRet: Literal[38] | None = None  # noqa: N815 - the container engine's name
    """Error number of a refused call; null means EPERM. The only other value is ENOSYS (errno.h), as if the kernel did
    not have the call: runsc 0.0~20221219 ignores the number and returns EPERM."""
    args: tuple[SeccompArgument, ...] = ()
    """Conditions of the rule; all of them must hold."""

    @model_validator(mode="after")
    def _conditions_are_sound(self) -> Self:
        if (self.errnoRet is not None) != (self.action == "SCMP_ACT_ERRNO"):
            message = "errnoRet must be set if action is SCMP_ACT_ERRNO, and only then"
            raise ValueError(message)
        # runc treats two conditions on one argument as alternatives, although all other conditions must hold together.
        if len({argument.index for argument in self.args}) != len(self.args):
            message = "a rule may have only one condition for each argument; write a second rule for an alternative"
            raise ValueError(message)
        return self


class SeccompProfile(Contract):
    """`seccomp.json`: every call that no rule names is refused. Only x86-64 is supported."""

    defaultAction: Literal["SCMP_ACT_ERRNO"]  # noqa: N815 - the container engine's name
    """What happens to every call that no rule names."""
    architectures: tuple[Literal["SCMP_ARCH_X86_64"]]
    """A call by another convention (int 0x80, x32) ends the process."""
    syscalls: Annotated[tuple[SeccompRule, ...], Field(min_length=1)]
    """The rules."""

    @property
    def allowed(self) -> frozenset[str]:
        """Calls that are allowed, with or without conditions."""
        return frozenset(name for rule in self.syscalls if rule.action == "SCMP_ACT_ALLOW" for name in rule.names)

    def encode_option(self, tier: IsolationTier) -> str:
        """Return the profile as a security option of the container engine, without the comments.

        For gVisor, ENOSYS is written as SCMP_ACT_TRACE, which runsc understands. Without a tracer such a call fails
        with ENOSYS (seccomp(2)), in gVisor as in Linux.
        """
        document = self.model_dump(mode="json", exclude_none=True, exclude={"syscalls": {"__all__": {"comment"}}})
        if tier == "gvisor":
            for rule in document["syscalls"]:
                if rule.pop("errnoRet", None) is not None:
                    rule["action"] = "SCMP_ACT_TRACE"
        return "seccomp=" + canonical_bytes(document).decode("ascii")
