"""Independent work side by side, in real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from unsee import events, machine
from unsee.errors import DataError, OptionError
from unsee.parallel import cores, fan_out, spread


def squared(n):
    return n * n


def placed(n):
    import torch

    return os.getpid(), torch.get_num_threads()


def failing(n):
    if n == 2:
        raise DataError(f"Expected anything but {n}")
    return n


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_items(jobs):
    assert [*fan_out(squared, range(7), jobs=jobs)] == [0, 1, 4, 9, 16, 25, 36]
    assert [*fan_out(squared, [], jobs=jobs)] == []


def test_one_job_stays_in_this_process_and_two_share_the_cores():
    assert {pid for pid, _ in fan_out(placed, range(3), jobs=1)} == {os.getpid()}
    found = [*fan_out(placed, range(6), jobs=2)]
    assert os.getpid() not in {pid for pid, _ in found}
    assert {threads for _, threads in found} == {max(1, cores() // 2)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_work_is_the_error_of_the_whole(jobs):
    with pytest.raises(DataError, match="anything but 2"):
        [*fan_out(failing, range(4), jobs=jobs)]
    assert [*fan_out(squared, range(3), jobs=jobs)] == [0, 1, 4]  # and the next call works


def test_a_cluster_has_to_be_one_that_can_be_had(monkeypatch):
    with pytest.raises(OptionError, match=r"--backend among \['loky', 'ray'\], got 'dask'"):
        with spread("dask"):
            pass
    with pytest.raises(OptionError, match="--address with --backend ray alone"):
        with spread(address="127.0.0.1:6379"):
            pass
    with spread("loky"):
        assert [*fan_out(squared, range(3), jobs=1)] == [0, 1, 4]
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "unsee.cluster", raising=False)
    with spread("ray"), pytest.raises(OptionError, match=r"pip install 'unsee\[ray\]'"):
        [*fan_out(squared, range(3))]
    assert [*fan_out(squared, range(3), jobs=1)] == [0, 1, 4]  # outside it is here again


def test_a_negative_number_of_jobs_is_refused():
    with pytest.raises(OptionError, match="--jobs of 0"):
        [*fan_out(squared, range(2), jobs=-1)]


def test_progress_is_told():
    heard = []
    with events.listening(heard.append):
        assert len([*fan_out(squared, range(3), jobs=1)]) == 3
    assert [e.done for e in heard if e.event == "progress"][-1] == 3


SLEEPY = """
import signal, sys, time
from unsee.cli._guard import listen_for_signals
from unsee.parallel import fan_out
listen_for_signals()
def work(n):
    import os
    open(sys.argv[1] + f"/{os.getpid()}", "w").close()
    time.sleep(60)
if __name__ == "__main__":
    list(fan_out(work, range(4), jobs=2))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=str)
def test_the_processes_end_with_the_one_that_started_them(tmp_path, number):
    script = tmp_path / "sleepy.py"
    script.write_text(SLEEPY.replace("sys.argv[1]", repr(str(tmp_path))))
    started = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
    workers = wait(lambda: [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()], 2)
    started.send_signal(number)
    started.wait(20)
    assert wait(lambda: [pid for pid in workers if not alive(pid)], len(workers))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait(look, n, seconds=40):
    end = time.monotonic() + seconds
    while len(found := look()) < n:
        assert time.monotonic() < end, f"expected {n}, got {found}"
        time.sleep(0.1)
    return found


def kept_to(_):
    import torch

    return torch.backends.cpu.get_cpu_capability(), machine.instructions(), os.getpid()


def test_processes_that_start_now_read_the_environment():
    if machine.instructions() not in machine.SETS:
        pytest.skip("no processor of x86")
    with machine.kept_to(machine.PORTABLE):
        (found,) = fan_out(kept_to, [0], jobs=1, apart=True)
    assert found[:2] == ("AVX2", "AVX2") and found[2] != os.getpid()
    others = [*fan_out(kept_to, [0, 1], jobs=1, apart=True)]
    assert {other[1] for other in others} == {machine.instructions()}
    assert len({found[2], *(other[2] for other in others)}) == 3
