"""The old name of `visret.documents`, which stays for one version."""

import warnings

from visret.documents import *  # noqa: F403

warnings.warn("visret.pdf is called visret.documents now", DeprecationWarning, stacklevel=2)
