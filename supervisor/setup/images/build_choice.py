"""Which backend set-up builds on this machine, chosen before anything is compiled."""

from supervisor.adapters.installation.backends import default_source_root, load_backends
from supervisor.domain.errors import SetupError
from supervisor.domain.planning.backends import choose_build
from supervisor.domain.planning.installation import HostFacts

__all__ = ["backend_of_machine"]


def backend_of_machine(host: HostFacts) -> str:
    """Return the backend that set-up builds for this processor.

    Raises:
        SetupError: unsupported_cpu, no backend that set-up builds runs here; definition_invalid.
    """
    required = {name: each.required_cpu_flags for name, each in load_backends(default_source_root()).items()}
    name = choose_build(required, host.cpu_flags)
    if name is None:
        message = (
            f"no backend runs on this processor ({host.processor or 'unnamed'}): even cpu_x86_64 needs "
            f"{', '.join(required['cpu_x86_64'])}, and /proc/cpuinfo does not list it. Use a 64-bit x86 machine"
        )
        raise SetupError("unsupported_cpu", message)
    return name
