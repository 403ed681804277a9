"""The places of the tensors of a library's modules in the files of a checkpoint, so that none is filled at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from visret.encoders._conventions import Stored
from visret.errors import WeightsError

_HEADS = ("pooler.",)  # not used, since vectors are taken before it


def check_weights(model: Any, folder: Path) -> list[dict[str, Stored]]:
    """Return where each tensor of each module is stored.

    A tensor that shares its memory with one that was found, as a tied head does, is found too. Raises WeightsError for
    a tensor that is not in the folder's files: the library would fill it at random.
    """
    from safetensors import safe_open

    stored: dict[str, list[tuple[Any, Stored]]] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        file = safe_open(path, framework="pt")
        for name in file.keys():  # type: ignore[no-untyped-call] # noqa: SIM118 (not a mapping)
            stored.setdefault(_ending(name), []).append((file, (path.relative_to(folder).as_posix(), name)))
    missing, found = [], []
    for module in model:
        places: dict[str, Stored] = {}
        tied: set[int] = set()
        unplaced: list[tuple[str, int]] = []
        for key, value in module.state_dict().items():
            name = key.removeprefix("model.")
            if name.startswith(_HEADS):
                continue
            for file, place in stored.get(_ending(name), []):
                if f".{place[1]}".endswith(f".{name}") and torch.equal(file.get_tensor(place[1]).to(value), value):
                    places[name] = place
                    tied.add(value.data_ptr())
                    break
            else:
                unplaced.append((name, value.data_ptr()))
        missing += [name for name, address in unplaced if address not in tied]
        found.append(places)
    if missing:
        raise WeightsError(
            f"{folder}: not in the checkpoint's weights: {', '.join(missing[:3])} ({len(missing)} tensors)"
        )
    return found


def _ending(name: str) -> str:
    return ".".join(name.split(".")[-2:])
