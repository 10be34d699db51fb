"""The entry point: the runner's own modules first, then its course; nothing else."""

import sys

sys.path.insert(0, "/opt/weos/lib")

from runner.main import main

sys.exit(main())
