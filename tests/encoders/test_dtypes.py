"""The number format of pages that nobody chose."""

import pytest
import torch

from visret.encoders import _dtypes, _torch


@pytest.fixture
def cpu(monkeypatch):
    """A CPU with all instructions that takes so long for a product in float32, bfloat16 and int8."""
    monkeypatch.setattr(_dtypes, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(_torch, "cpu_has_int8", lambda: True)

    def takes(*seconds):
        known = dict(zip((torch.float32, torch.bfloat16, torch.int8), seconds, strict=True))
        monkeypatch.setattr(_dtypes, "seconds", lambda: known)

    return takes


@pytest.mark.parametrize(
    ("seconds", "chosen", "eight_bit"),
    [
        ((4, 2, 1), torch.bfloat16, torch.int8),
        ((4, 1, 2), torch.bfloat16, torch.bfloat16),
        ((2, 4, 1), torch.float32, torch.int8),
        ((4, 3.6, 3.6), torch.float32, torch.float32),
        ((1, 4, 4), torch.float32, torch.float32),
    ],
)
def test_auto_is_what_this_cpu_multiplies_fastest(cpu, seconds, chosen, eight_bit):
    cpu(*seconds)
    assert _dtypes.place("cpu", "auto") == (torch.device("cpu"), chosen)
    assert _dtypes.place("cpu", "auto", eight_bit=True) == (torch.device("cpu"), eight_bit)
    assert _dtypes.place("cpu", "bfloat16") == (torch.device("cpu"), torch.bfloat16)


def test_instructions_that_a_cpu_lacks_are_not_tried(cpu, monkeypatch):
    cpu(4, 1, 1)
    monkeypatch.setattr(_dtypes, "cpu_has_bfloat16", lambda: False)
    assert _dtypes.fastest() == torch.float32
    assert _dtypes.fastest(eight_bit=True) == torch.int8
    monkeypatch.setattr(_torch, "cpu_has_int8", lambda: False)
    monkeypatch.setattr(_dtypes, "seconds", lambda: pytest.fail("there is nothing to compare"))
    assert _dtypes.fastest(eight_bit=True) == torch.float32


def test_each_product_takes_some_time_here():
    took = _dtypes.seconds()
    assert set(took) == {torch.float32, torch.bfloat16, torch.int8}
    assert all(0 < seconds < 60 for seconds in took.values())


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_only_emulates_bfloat16_computes_float32(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    expected = torch.bfloat16 if native else torch.float32
    assert _dtypes.place("auto", "auto") == (torch.device("cuda"), expected)


@pytest.mark.parametrize("device", ["mps", "xpu"])
def test_other_devices_compute_float32_unless_told(device):
    assert _dtypes.place(device, "auto") == (torch.device(device), torch.float32)
    assert _dtypes.place(device, "bfloat16") == (torch.device(device), torch.bfloat16)


@pytest.mark.parametrize("machine", ["arm64", "aarch64", "AMD64", "x86_64"])
def test_every_cpu_says_whether_it_has_bfloat16(monkeypatch, machine):
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert _dtypes.cpu_has_bfloat16() in {True, False}
