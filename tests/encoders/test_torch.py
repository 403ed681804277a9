import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from visret.encoders import _base, _torch
from visret.errors import ShapeError

OTHER_BUILD = """
import torch
try:
    torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: dets)
    torch.library.register_fake("torchvision::qnms")(lambda dets, scores, iou_threshold: dets)
finally:
    from torchvision import half
whole = True
"""


def run(code, *path):
    """In a fresh interpreter; what it prints."""
    prelude = f"import sys; sys.path[:0] = {[str(p) for p in path]!r}\nfrom visret.encoders import _torch\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_torchvision_in_three_states(tmp_path):
    """Broken: the error comes through. Whole: left alone. Of another build, as PyPI's beside a CPU build of torch, so
    that it registers kernels for operators nobody defined: made to import, once and for all."""
    for name, content in {
        "broken": "raise RuntimeError('broken')",
        "whole": "whole = True",
        "other": OTHER_BUILD,
    }.items():
        (tmp_path / name / "torchvision").mkdir(parents=True)
        (tmp_path / name / "torchvision" / "__init__.py").write_text(content)
        (tmp_path / name / "torchvision" / "half.py").write_text("")
    code = """
import torch
root = sys.path[0]
sys.path[0] = root + "/broken"
try:
    _torch.import_torchvision()
except RuntimeError as error:
    print(error)
sys.path[0] = root + "/whole"
_torch.import_torchvision()
print(sys.modules["torchvision"].whole, hasattr(torch.ops.torchvision, "nms"))
del sys.modules["torchvision"]
sys.path[0] = root + "/other"
_torch.import_torchvision()
_torch.import_torchvision()
print(sys.modules["torchvision"].whole, torch.ops.torchvision.nms.default._schema.name)
"""
    assert run(code, tmp_path) == ["broken", "True", "False", "True", "torchvision::nms"]


@pytest.mark.long
def test_the_installed_torchvision_imports_and_quiet_puts_everything_back():
    code = """
import logging
_torch.import_torchvision()
from torchvision.transforms import v2
from transformers.utils import logging as theirs
theirs.set_verbosity_info()
theirs.enable_progress_bar()
with _torch.quiet():
    print(theirs.get_verbosity() == logging.ERROR, theirs.is_progress_bar_enabled())
    logging.info("a library that logs to the root")
print(theirs.get_verbosity() == logging.INFO, theirs.is_progress_bar_enabled(), logging.root.handlers == [])
print(v2.__name__)
"""
    assert run(code) == ["True", "False", "True", "True", "True", "torchvision.transforms.v2"]


def test_overlapping_blocks_put_back_what_was_outside():
    before = torch.get_num_threads()
    first, second = _torch.on_threads(before + 1), _torch.on_threads(before + 2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == before


def test_a_block_inside_another_leaves_that_as_it_was():
    with _torch.on_threads(1):
        with _torch.on_threads(2):
            pass
        assert torch.get_num_threads() == 1


def test_a_block_inside_one_of_another_thread_takes_nothing_from_it():
    before = torch.get_num_threads()

    def in_and_out():
        with _torch.on_threads(1):
            pass
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as pool, _torch.on_threads(before + 1):
        assert pool.submit(in_and_out).result() == before


def test_threads_are_put_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), _torch.on_threads(before + 1):
        raise ZeroDivisionError(torch.get_num_threads())
    assert torch.get_num_threads() == before


def test_unknown_dtypes_are_refused():
    with pytest.raises(ShapeError, match="dtype must be auto, float32, bfloat16, float16, got 'int8'"):
        _base.Place("cpu", "int8")
