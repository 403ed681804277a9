"""visret in the browser: python apps/demo.py [INDEX] [--host 127.0.0.1] [--port 7860]"""

import argparse
import sys

from visret import VisretError
from visret.server import ui

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="visret in the browser")
    parser.add_argument("index", nargs="?", help="the folder of an index; without it, bring files in the browser")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (7860)")
    arguments = parser.parse_args()
    try:
        ui.launch(arguments.index, host=arguments.host, port=arguments.port)
    except VisretError as error:
        sys.exit(f"visret: {error}")
