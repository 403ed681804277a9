"""visret in the browser: python apps/demo.py [INDEX] [--host 127.0.0.1] [--port 7860]

INDEX is the folder of an index; without it, that of the sample documents, which is made the first time. Other files can
be brought in the browser. Otherwise the same as `visret serve`.
"""

import sys
from pathlib import Path

from visret.cli import main

SAMPLES = Path(__file__).parent.parent / "examples" / "documents"

if __name__ == "__main__":
    given = sys.argv[1:]
    if not given or given[0].startswith("-"):
        index = SAMPLES.with_suffix(".visret")
        main(["index", str(SAMPLES), "--index", str(index)])
        given = [str(index), *given]
    sys.exit(main(["serve", *given]))
