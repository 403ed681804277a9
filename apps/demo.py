"""visret in the browser: python apps/demo.py [INDEX] [--host 127.0.0.1] [--port 7860]

INDEX is the folder of an index; without it, files are brought in the browser. The same as `visret serve`.
"""

import sys

from visret.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
