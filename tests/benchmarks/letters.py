"""Make visret/ocr/letters.bin: which triples of letters are usual in a language that is written in Latin letters.

    python tests/benchmarks/letters.py FOLDER     # Debian's dictionaries (hunspell-*) are fetched into FOLDER, once

A triple is usual where it is more than 2 in 100,000 of those of the words of a dictionary (60,000 of them at most), in
any of the languages. Only this bit is kept of each triple. Needs apt-get and dpkg for the first run.
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import numpy as np
from debian import unpacked

from visret.ocr import letters

PACKAGES = {  # of Debian: the dictionary in each
    "en-us": "en_US", "de-de": "de_DE", "fr-classical": "fr", "it": "it_IT", "es": "es_ES", "pt-pt": "pt_PT",
    "ca": "ca_ES", "ro": "ro_RO", "nl": "nl_NL", "da": "da_DK", "no": "nb_NO", "sv": "sv_SE", "cs": "cs_CZ",
    "sk": "sk_SK", "pl": "pl_PL", "sl": "sl_SI", "hr": "hr_HR", "lt": "lt_LT", "hu": "hu_HU", "tr": "tr_TR",
    "eu": "eu_ES", "id": "id_ID", "vi": "vi_VN", "lv": "lv_LV", "gl": "gl_ES", "is": "is_IS", "sr": "sr_Latn_RS",
    "et": "et_EE", "sw": "sw_KE", "af": "af_ZA",
}  # fmt: skip
MAX_WORDS = 60_000
USUAL = 2e-5


def fetch(folder: Path) -> None:
    """The packages, unpacked."""
    for package in PACKAGES:
        unpacked("myspell-et" if package == "et" else f"hunspell-{package}", folder, called=package)


def words(file: Path) -> list[str]:
    """Of a dictionary, in an order that is the same every time but not the alphabet's."""
    encoding = re.search(rb"^\s*SET\s+(\S+)", file.with_suffix(".aff").read_bytes(), re.MULTILINE)
    name = encoding.group(1).decode().lower().removeprefix("microsoft-") if encoding else "utf-8"
    found = [re.split(r"[/\t ]", line)[0] for line in file.read_bytes().decode(name, "replace").splitlines()[1:]]
    random.Random(0).shuffle(found)
    return found[:MAX_WORDS]


def triples(texts: list[str]) -> np.ndarray:
    """(27, 27, 27): the share of each triple of letters."""
    kinds = letters.kinds_of(" " + " ".join(texts) + " ")
    kinds[kinds == letters.MARK] = letters.EDGE
    kinds = kinds[np.append(True, (kinds[1:] != letters.EDGE) | (kinds[:-1] != letters.EDGE))]
    windows = np.stack([kinds[:-2], kinds[1:-1], kinds[2:]])
    kept = windows[:, (windows <= letters.EDGE).all(axis=0) & (windows[1] < letters.EDGE)].astype(int)
    counts = np.bincount(np.ravel_multi_index(kept, (27, 27, 27)), minlength=27**3).reshape(27, 27, 27)
    return counts / counts.sum()


def main() -> None:
    """Fetch, count, write."""
    folder = Path(sys.argv[1])
    fetch(folder)
    usual = np.zeros((27, 27, 27), bool)
    for package, name in PACKAGES.items():
        usual |= triples(words(folder / package / "usr/share/hunspell" / f"{name}.dic")) > USUAL
    letters.FILE.write_bytes(np.packbits(usual.ravel()).tobytes())
    print(f"{usual.mean():.0%} of the triples are usual")


if __name__ == "__main__":
    main()
