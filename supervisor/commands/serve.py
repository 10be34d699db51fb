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


def _announce(home: Home, listening: Listening, *, on_tcp: bool) -> None:
    click.echo(f"WeOS execution engine {listening.engine_version}")
    socket = f"Unix socket {listening.socket}"
    click.echo(f"  API      {f'{listening.url}/v1/runs (and {socket})' if on_tcp else socket}")
    click.echo(f"  token    {home.token_file}")
    click.echo(f"  keys     {home.trust_file}")
    if listening.recovered:
        click.echo(f"  {listening.recovered} execution(s) of an earlier supervisor recorded as aborted")
    click.echo("Stop with Ctrl-C: running executions get 10 s to end; a second Ctrl-C ends them at once.")


async def _serve(home: Home, docker_host: str, port: int | None) -> None:
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    on_tcp = port is not None
    ready.add_done_callback(lambda done: None if done.cancelled() else _announce(home, done.result(), on_tcp=on_tcp))
    await serve_until_told(home, docker_host, port=port, ready=ready)


@click.command(name="serve")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0 chooses a free port."
)
@click.option("--socket-only", is_flag=True, help="Open no TCP port: the API is on the Unix socket of the home alone.")
@click.option("--verbose", is_flag=True, help="Log information too, not only warnings.")
def command(port: int, socket_only: bool, verbose: bool) -> None:
    """Serve the API on loopback and on a Unix socket of the home."""
    configure_logging(logging.INFO if verbose else logging.WARNING)
    home = Home(default_home())
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    progress = ConsoleProgress()
    docker_host = ensure_container_engine(home.root, progress)
    contained = contain(home, docker_host, progress)
    if contained is not None:
        reached = ["--socket-only"] if socket_only else ["--port", str(port)]
        raise SystemExit(contained.serve(["serve", *reached, *(["--verbose"] if verbose else [])]))
    asyncio.run(_serve(home, docker_host, None if socket_only else port))
