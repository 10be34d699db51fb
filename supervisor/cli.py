"""The command line `weos-engine`: each command in a module of its own, loaded only when it is called.

So `audit` needs no more than the contracts, whatever else is installed.
"""

import sys
from typing import NoReturn

import click

from supervisor.console.lazy import LazyGroup

__all__ = ["main"]

# command -> module of supervisor.commands, and what it does
COMMANDS = {
    "audit": "Check records, logs and checkpoints offline.",
    "demo": "Prepare everything, execute the specification's request and verify its record.",
    "doctor": "Show what this host can and cannot do, and what follows.",
    "gvisor": "Install gVisor's runsc and register it with the container engine.",
    "images": "Build and list runtime images.",
    "ledger": "Export and import the ledger; prove ranges of it.",
    "models": "Add, list, verify and remove models.",
    "power": "Calibrate and show the meter that watts come from.",
    "release": "Make, list, show, select and revoke engine versions.",
    "run": "Execute a request through the API of the running supervisor.",
    "serve": "Serve the API in the foreground.",
    "setup": "Prepare engine, runtime image and demonstration model.",
    "token": "Make bearer tokens for agents.",
}
# Modules of the extra [server], which an auditor's installation is without.
SERVER_MODULES = frozenset({"aiohttp", "docker", "psutil", "pynvml", "rich"})
MISSING = (
    "this command needs the engine, of which {name} is missing here; from its source tree: make bootstrap, "
    "or: pip install '.[server]'. `audit` works without it."
)


@click.command(
    cls=LazyGroup,
    package="supervisor.commands",
    summaries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="weos-engine")
def _root() -> None:
    """WeOS execution engine: executes, measures and signs; it decides nothing."""


def main() -> NoReturn:
    """Run the command line; what goes wrong is said in one line with its code."""
    try:
        _root.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody to tell.
        sys.stdout = None  # so that nothing is flushed into the closed pipe at exit
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name not in SERVER_MODULES:
            raise
        click.echo(f"not_installed: {MISSING.format(name=error.name)}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"host_error: {error}; see that the place exists, has room and may be written", err=True)
        sys.exit(1)
    except Exception as error:
        code = getattr(error, "code", None)
        if not isinstance(code, str):
            raise
        click.echo(f"{code}: {error}", err=True)
        sys.exit(1)
    sys.exit(0)
