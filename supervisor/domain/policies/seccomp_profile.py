"""Lock one: `seccomp.json`, the container engine's own form of a system call filter, held to its strictest shape."""

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
    """Which argument."""
    value: ArgumentValue
    """What it must equal; with `SCMP_CMP_MASKED_EQ` the mask."""
    valueTwo: ArgumentValue | None = None  # noqa: N815 - the engine's name
    """What the masked argument must equal."""
    op: Literal["SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"]
    """How it is compared. Nothing else: an allowlist names what it allows."""

    @model_validator(mode="after")
    def _second_value_goes_with_mask(self) -> Self:
        if (self.valueTwo is not None) != (self.op == "SCMP_CMP_MASKED_EQ"):
            message = "valueTwo belongs to SCMP_CMP_MASKED_EQ and to nothing else"
            raise ValueError(message)
        return self


class SeccompRule(Contract):
    """Calls with one treatment."""

    comment: Annotated[str, StringConstraints(min_length=1)]
    """Why; not passed on."""
    names: Annotated[tuple[CallName, ...], Field(min_length=1)]
    """The calls."""
    action: Literal["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"]
    """Whether they are let through."""
    errnoRet: Literal[38] | None = None  # noqa: N815 - the engine's name
    """What a refused call answers, where that is not EPERM: ENOSYS (errno.h), as if the kernel did not have the call.
    No other, because runsc 0.0~20221219 answers EPERM whatever stands here."""
    args: tuple[SeccompArgument, ...] = ()
    """Under which conditions."""

    @model_validator(mode="after")
    def _conditions_are_sound(self) -> Self:
        if (self.errnoRet is not None) != (self.action == "SCMP_ACT_ERRNO"):
            message = "errnoRet belongs to SCMP_ACT_ERRNO and to nothing else"
            raise ValueError(message)
        # runc takes two conditions on one argument as alternatives, where all others must hold together.
        if len({argument.index for argument in self.args}) != len(self.args):
            message = "a rule may have one condition on an argument; write a rule of its own for an alternative"
            raise ValueError(message)
        return self


class SeccompProfile(Contract):
    """`seccomp.json`: what is not named is refused, on the one architecture there is."""

    defaultAction: Literal["SCMP_ACT_ERRNO"]  # noqa: N815 - the engine's name
    """What happens to every call that no rule names."""
    architectures: tuple[Literal["SCMP_ARCH_X86_64"]]
    """Calls by another convention, int 0x80 and x32, end the process."""
    syscalls: Annotated[tuple[SeccompRule, ...], Field(min_length=1)]
    """The rules."""

    @property
    def allowed(self) -> frozenset[str]:
        """Calls that are let through, under conditions or without."""
        return frozenset(name for rule in self.syscalls if rule.action == "SCMP_ACT_ALLOW" for name in rule.names)

    def encode_option(self, tier: IsolationTier) -> str:
        """Return the profile as a security option of the container engine, without the comments.

        For gVisor ENOSYS is spelled SCMP_ACT_TRACE: without a tracer that is what a call answers (seccomp(2)), in
        gVisor as in Linux, and runsc understands it.
        """
        document = self.model_dump(mode="json", exclude_none=True, exclude={"syscalls": {"__all__": {"comment"}}})
        if tier == "gvisor":
            for rule in document["syscalls"]:
                if rule.pop("errnoRet", None) is not None:
                    rule["action"] = "SCMP_ACT_TRACE"
        return "seccomp=" + canonical_bytes(document).decode("ascii")
