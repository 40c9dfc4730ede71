"""What this machine computes with; every run keeps the answers beside its numbers.

Sums that come in another order and numbers of fewer digits lead a training elsewhere, so that two
processors seldom end at the same weights.  One that can do more can be kept to what another one
does: then they agree.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
SETS = (  # of instructions, by the names that oneDNN has for them, from narrow to wide
    *("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"),
    *("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16"),
)
TOLD_BY = {  # flags of a processor
    "avx2": "AVX2",
    "avx512bw": "AVX512_CORE",
    "avx512_bf16": "AVX512_CORE_BF16",
    "amx_bf16": "AVX512_CORE_AMX",
}
LIMIT = "ONEDNN_MAX_CPU_ISA"
PORTABLE = "AVX2"  # what nearly all processors of x86 have: no bfloat16


def has_fast_bf16(device: str) -> bool:
    """Ask the hardware, and never a stopwatch: a resumed run has to get the same answer.

    CUDA from compute capability 8.0, CPUs that name ``avx512_bf16``, ``amx_bf16`` or Arm's
    ``bf16`` among their flags; not where ``ONEDNN_MAX_CPU_ISA`` keeps them to less.
    """
    if device == "cuda":
        import torch

        return torch.cuda.get_device_capability() >= (8, 0)
    used = instructions()
    if used not in SETS:
        return "bf16" in flags()
    return SETS.index(used) >= SETS.index("AVX512_CORE_BF16")


def instructions() -> str:
    """Return the widest instructions of the processor, or the narrower ones it is kept to.

    By the names of ``ONEDNN_MAX_CPU_ISA``; of other processors than x86 their kind.
    """
    found = [name for flag, name in TOLD_BY.items() if flag in flags()]
    limit = os.environ.get(LIMIT, "").upper()
    if not found:
        return platform.machine()
    return min(found[-1], limit if limit in SETS else found[-1], key=SETS.index)


def limits(used: str) -> dict[str, str]:
    """Return the variables by which a process that starts computes with no wider instructions.

    >>> limits("AVX512_CORE_BF16")
    {'ONEDNN_MAX_CPU_ISA': 'AVX512_CORE_BF16'}
    """
    if used not in SETS:
        return {}
    narrow = SETS.index(used) < SETS.index("AVX512_CORE")
    others = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"} if narrow else {}
    return others | {LIMIT: used}


@contextmanager
def kept_to(used: str) -> Iterator[None]:
    """Let processes that start inside, and torch if it is not loaded yet, compute with no more."""
    before = {name: os.environ.get(name) for name in limits(used)}
    os.environ.update(limits(used))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@cache
def flags() -> frozenset[str]:
    """Return what the processor says that it can do; none where nothing says so, as off Linux."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((x for x in lines if x.startswith(("flags", "Features"))), "").split())
