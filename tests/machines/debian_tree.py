"""A later Debian beside this machine: its packages in a tree, run on this kernel, with this machine's files."""

import shlex
from pathlib import Path

from supervisor.setup.host.programs import find_program, run_command

__all__ = ["ensure_tree", "run_in_tree"]

RELEASE = "trixie"
PACKAGES = ("ca-certificates", "conmon", "podman", "runc")
BOOTSTRAP_TIMEOUT_S = 2400
# Seen in the tree at their own places: the kernel's file systems, and what a test has made.
SHARED = ("/proc", "/sys", "/dev", "/tmp", "/var/tmp")


def ensure_tree(home: Path) -> Path:
    """Return the tree, made by debootstrap where it is not there yet.

    Raises:
        SetupError: base_image_failed.
    """
    tree = home / "machines" / RELEASE
    if (tree / "usr" / "bin" / "podman").exists():
        return tree
    tree.mkdir(parents=True, exist_ok=True)
    run_command(
        (
            *(find_program("debootstrap") or "debootstrap", "--variant=minbase", "--force-check-gpg"),
            *(f"--include={','.join(PACKAGES)}", RELEASE, str(tree)),
        ),
        timeout_s=BOOTSTRAP_TIMEOUT_S,
        code="base_image_failed",
        purpose=f"make a tree of Debian {RELEASE} (it needs root and Debian's packages)",
    )
    return tree


def run_in_tree(tree: Path, home: Path) -> tuple[str, ...]:
    """Return the command that runs another in the tree, in a mount namespace of its own that ends with it.

    Args:
        tree: the tree.
        home: seen in the tree at its own place, for the models in it.
    """
    root = shlex.quote(str(tree))
    # A root that is no mount point could not be mounted again, as Podman does to unpack a layer.
    mounts = [f"mount --bind {root} {root}"]
    mounts += [f"mount --rbind {shlex.quote(path)} {shlex.quote(f'{tree}{path}')}" for path in SHARED]
    models = (home / "models").resolve()
    inside = shlex.quote(f"{tree}{models}")
    mounts += [f"mkdir -p {inside}", f"mount --rbind {shlex.quote(str(models))} {inside}"]
    # A tree within the home would be mounted into itself, so only the models are.
    # A changed root (chroot) would show in the names of the files that a sandbox has mapped.
    enter = f'mkdir -p {root}/old && cd {root} && pivot_root . old && umount --lazy /old && exec "$@"'
    script = " && ".join([*mounts, enter])
    return ("unshare", "--mount", "--propagation", "slave", "--", "sh", "-c", script, "sh")
