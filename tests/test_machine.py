"""What this machine computes with, and what it is kept to."""

import os
import subprocess
import sys

import pytest

from unsee import machine

ZEN2 = "processor : 0\nflags\t\t: fpu avx avx2 fma\n"
SKYLAKE = "flags : fpu avx2 avx512f avx512bw\nbugs : avx512_bf16\n"
ZEN5 = "flags : fpu avx2 avx512f avx512bw avx512_bf16 avx512_vnni\n"
SAPPHIRE = "flags : fpu avx2 avx512f avx512bw avx512_bf16 amx_bf16 amx_tile\n"
ARM = "Features : fp asimd bf16 i8mm\n"


@pytest.fixture
def on(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine.platform, "machine", lambda: "other")
    monkeypatch.delenv(machine.LIMIT, raising=False)

    def become(text):
        (tmp_path / "cpuinfo").write_text(text)
        machine.flags.cache_clear()

    yield become
    machine.flags.cache_clear()


@pytest.mark.parametrize(
    ("text", "instructions", "fast"),
    [
        (ZEN2, "AVX2", False),
        (SKYLAKE, "AVX512_CORE", False),
        (ZEN5, "AVX512_CORE_BF16", True),
        (SAPPHIRE, "AVX512_CORE_AMX", True),
        (ARM, "other", True),
        ("", "other", False),
    ],
)
def test_what_a_processor_can_do_is_read_from_its_flags(on, text, instructions, fast):
    on(text)
    assert machine.instructions() == instructions
    assert machine.has_fast_bf16("cpu") is fast


@pytest.mark.parametrize(
    ("limit", "instructions", "fast"),
    [
        ("AVX2", "AVX2", False),
        ("avx512_core_vnni", "AVX512_CORE_VNNI", False),
        ("AVX512_CORE_BF16", "AVX512_CORE_BF16", True),
        ("AVX512_CORE_AMX_FP16", "AVX512_CORE_AMX", True),  # more than it has
        ("ALL", "AVX512_CORE_AMX", True),
    ],
)
def test_a_processor_that_is_kept_to_less_has_no_fast_bf16(
    on, monkeypatch, limit, instructions, fast
):
    on(SAPPHIRE)
    monkeypatch.setenv(machine.LIMIT, limit)
    assert machine.instructions() == instructions
    assert machine.has_fast_bf16("cpu") is fast


def test_the_limits_hold_inside_alone(on, monkeypatch):
    on(ZEN5)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx512")
    before = dict(os.environ)
    with machine.kept_to(machine.PORTABLE):
        assert machine.instructions() == "AVX2" and not machine.has_fast_bf16("cpu")
        assert os.environ["ATEN_CPU_CAPABILITY"] == os.environ["MKL_ENABLE_INSTRUCTIONS"].lower()
    assert dict(os.environ) == before
    assert machine.limits("other") == {} == machine.limits("")


def test_torch_and_onednn_do_as_they_are_told():
    """Both are asked in a process of their own: they make up their minds once."""
    if machine.instructions() not in machine.SETS:
        pytest.skip("no processor of x86")
    code = (
        "import torch; print(torch.backends.cpu.get_cpu_capability(), flush=True);"
        "torch.nn.Conv2d(3, 8, 3)(torch.zeros(2, 3, 9, 9))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | machine.limits(machine.PORTABLE) | {"ONEDNN_VERBOSE": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert told.startswith("AVX2\n")
    assert "Intel AVX2" in told and "avx512" not in told
