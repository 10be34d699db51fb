"""Run the command line: `python -m supervisor`."""

from supervisor.cli import main

main()
