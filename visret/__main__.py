"""`python -m visret` is the command `visret`."""

import sys

from visret.cli import main

sys.exit(main())
