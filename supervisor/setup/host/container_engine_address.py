"""Whether anything listens at the address of a container engine, checked before the SDK is used.

The SDK leaves its socket open when a connection fails, which Python then warns about.
"""

import socket

__all__ = ["is_listening"]

CONNECT_TIMEOUT_S = 5.0
UNIX_SCHEME = "unix://"


def is_listening(docker_host: str) -> bool:
    """Return whether a Unix socket takes connections; other addresses are left to the SDK."""
    if not docker_host.startswith(UNIX_SCHEME):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        try:
            probe.connect(docker_host.removeprefix(UNIX_SCHEME))
        except OSError:
            return False
    return True
