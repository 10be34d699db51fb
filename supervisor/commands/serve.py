"""`weos-engine serve`: the API in the foreground, until SIGINT or SIGTERM."""

import asyncio
import logging

import click

from supervisor.adapters.home import Home, default_home
from supervisor.commands.supervising import contain
from supervisor.composition import DEFAULT_PORT, Listening, serve_until_told
from supervisor.console.log import configure_logging
from supervisor.console.steps import ConsoleProgress
from supervisor.setup.host.container_engine import ensure_container_engine

__all__ = ["command"]


def _announce(home: Home, listening: Listening) -> None:
    click.echo(f"WeOS execution engine {listening.engine_version}")
    click.echo(f"  API      {listening.url}/v1/runs (and Unix socket {listening.socket})")
    click.echo(f"  token    {home.token_file}")
    click.echo(f"  keys     {home.trust_file}")
    if listening.recovered:
        click.echo(f"  {listening.recovered} execution(s) of an earlier supervisor recorded as aborted")
    click.echo("Stop with Ctrl-C: running executions get 10 s to end; a second Ctrl-C ends them at once.")


async def _serve(home: Home, docker_host: str, port: int) -> None:
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    ready.add_done_callback(lambda done: _announce(home, done.result()) if not done.cancelled() else None)
    await serve_until_told(home, docker_host, port=port, ready=ready)


@click.command(name="serve")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0 chooses a free port."
)
@click.option("--verbose", is_flag=True, help="Log information too, not only warnings.")
def command(port: int, verbose: bool) -> None:
    """Serve the API on loopback and on a Unix socket of the home."""
    configure_logging(logging.INFO if verbose else logging.WARNING)
    home = Home(default_home())
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    progress = ConsoleProgress()
    docker_host = ensure_container_engine(home.root, progress)
    contained = contain(home, docker_host, progress)
    if contained is not None:
        raise SystemExit(contained.serve(["serve", "--port", str(port), *(["--verbose"] if verbose else [])]))
    asyncio.run(_serve(home, docker_host, port))
