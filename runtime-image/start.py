"""The entry point: the runner's own modules first, then its course; nothing else.

Without arguments it serves one job. With `quantize` and that program's arguments it quantizes a model.
"""

import sys

sys.path.insert(0, "/opt/weos/lib")

if sys.argv[1:2] == ["quantize"]:
    from runner.quantize import main as quantize

    sys.exit(quantize(sys.argv[2:]))

from runner.main import main

sys.exit(main())
