"""`weos-engine audit verify`: one line per check and a verdict per bundle."""

from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="verify")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(bundles: tuple[Path, ...]) -> None:
    """Verify BUNDLES offline. Exit status 0 only where all are VALID."""
