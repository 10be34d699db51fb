"""What a sandbox is made of, as far as it can be made without a container engine; `confined` makes it."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from supervisor.domain.policies.policy import SandboxPolicy

__all__ = ["CARD_DEVICES", "Shape", "plain_shape", "sandbox_shape"]

# What every container has. Terminals are left out.
COMMON_DEVICES = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")
CARD_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm")


@dataclass(frozen=True, slots=True)
class Shape:
    """How a process is confined before its program starts."""

    environment: dict[str, str]
    uid: int | None = None
    """The unprivileged user; None: the one that starts it."""
    limits: dict[str, int] = field(default_factory=dict)
    """Resource limits by `RLIMIT_` name, in the kernel's units."""
    files: bool = False
    """Whether it gets a mount namespace of its own, for the four below."""
    devices: tuple[str, ...] | None = None
    """Everything in its /dev; None: all of the machine's."""
    masked: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    """Paths below masked ones that stay visible."""
    read_only: tuple[str, ...] | None = None
    """Paths that are read-only even below /proc; None: nothing is read-only."""
    staging: str = ""
    """An empty directory to build its /dev in."""
    networks: bool = False
    """Whether it gets networks and shared memory of its own: none."""
    filter_file: str | None = None
    """The program of lock one; None: no lock."""
    listens: bool = False
    """Whether that program asks a listener about calls."""
    command: tuple[str, ...] = ()

    def encode(self) -> str:
        """Return the argument of `confined`."""
        return json.dumps(asdict(self))

    def without(self, rule: str) -> "Shape":
        """Return the same without one of its rules: a field's name, `limits:NAME` or `masked:PATH`."""
        name, _, part = rule.partition(":")
        if name == "limits":
            return replace(self, limits={each: value for each, value in self.limits.items() if part not in {"", each}})
        if name == "masked":
            return replace(self, masked=tuple(path for path in self.masked if part not in {"", path}))
        gone: dict[str, Shape] = {
            "uid": replace(self, uid=None),
            "devices": replace(self, devices=None),
            "read_only": replace(self, read_only=None),
            "networks": replace(self, networks=False),
        }
        return gone[name]


def plain_shape(environment: dict[str, str]) -> Shape:
    """Return the shape of a process that is not confined."""
    return Shape(environment=environment)


def sandbox_shape(environment: dict[str, str], policy: SandboxPolicy, staging: Path) -> Shape:
    """Return the shape that `policies/sandbox.toml` gives, with the card's devices."""
    cards = sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))
    devices = (*COMMON_DEVICES, *CARD_DEVICES, *cards)
    limits = policy.ulimits.model_dump()
    return Shape(
        environment={**environment, **policy.environment},
        uid=int(policy.user.partition(":")[0]),
        limits={name: int(value) for name, value in limits.items()},
        files=True,
        devices=tuple(device for device in devices if Path(device).exists()),
        masked=policy.paths.masked,
        read_only=policy.paths.read_only,
        staging=str(staging),
        networks=True,
    )
