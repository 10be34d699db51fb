"""The command line `weos-engine`: each command in a module of its own, loaded only when it is called.

So `audit` needs no more than the contracts.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

import click

from supervisor.console.lazy import LazyGroup

__all__ = ["main"]

# command, which is a module of supervisor.commands unless ELSEWHERE names another -> what it does
COMMANDS = {
    "audit": "Check records, logs and checkpoints offline.",
    "backup": "Write the ledger and what verifies it to one file.",
    "chat": "Hold a conversation with a model.",
    "completion": "Print what a shell needs to complete commands and options.",
    "config": "Show what is in force here, and where each value comes from.",
    "demo": "Prepare everything, execute one request and verify its record.",
    "doctor": "Show what this host supports, and the consequences.",
    "gvisor": "Install gVisor's runsc and register it with the container engine.",
    "health": "Ask the running supervisor whether it can accept executions.",
    "images": "Build and list runtime images.",
    "install-service": "Install the supervisor as a service of systemd.",
    "ledger": "Export and import the ledger, and prove ranges of it.",
    "models": "Get, make, show, verify and remove models.",
    "power": "Calibrate and show the power meter.",
    "release": "Make, list, show, select and revoke engine versions.",
    "restore": "Restore a backup into a home without a ledger.",
    "run": "Execute a request through the API of the running supervisor.",
    "serve": "Serve the API in the foreground.",
    "setup": "Prepare the container engine, a runtime image and the demonstration model.",
    "token": "Make bearer tokens for agents.",
}
# command -> its module, where that is not one of supervisor.commands
ELSEWHERE = {
    "backup": "supervisor.commands.operations.backup",
    "completion": "supervisor.commands.operations.completion",
    "config": "supervisor.commands.operations.config",
    "health": "supervisor.commands.operations.health",
    "install-service": "supervisor.commands.operations.install_service",
    "restore": "supervisor.commands.operations.restore",
}
# Modules of the extra [server], which an auditor's installation lacks.
SERVER_MODULES = frozenset({"aiohttp", "docker", "psutil", "pynvml", "rich"})
MISSING = (
    "this command needs the execution engine's packages, of which {name} is missing here. In the source tree, run: "
    "make bootstrap, or: pip install '.[server]'. `audit` works without them."
)
# PyPI's process control system, whose package has the same name as ours.
OTHER_DISTRIBUTION = "supervisor"
MIXED = (
    "the distribution {name} {version} is installed in this environment too; its package `supervisor` and ours "
    "overwrite each other. Install weos-engine in an environment of its own, from its source tree: pipx install ."
)


@click.command(
    cls=LazyGroup,
    package="supervisor.commands",
    summaries=COMMANDS,
    elsewhere=ELSEWHERE,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="weos-engine")
def _root() -> None:
    """WeOS execution engine: executes language models, measures them and signs the records."""


def main() -> NoReturn:
    """Run the command line; an error is printed as one line with its code."""
    _require_own_environment()
    try:
        _root.main(prog_name="weos-engine", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone, so there is nobody to tell.
        sys.stdout = None  # nothing is flushed into the closed pipe at exit
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name not in SERVER_MODULES:
            raise
        click.echo(f"not_installed: {MISSING.format(name=error.name)}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"host_error: {error}; check that the path exists, has free space and is writable", err=True)
        sys.exit(1)
    except Exception as error:
        code = getattr(error, "code", None)
        if not isinstance(code, str):
            raise
        click.echo(f"{code}: {error}", err=True)
        sys.exit(1)
    sys.exit(0)


def _require_own_environment() -> None:
    try:
        found = version(OTHER_DISTRIBUTION)
    except PackageNotFoundError:
        return
    click.echo(f"environment_mixed: {MIXED.format(name=OTHER_DISTRIBUTION, version=found)}", err=True)
    sys.exit(1)
