"""Work spread over processes: order, progress, errors; and rows that hang, swallow memory or crash."""

import ctypes
import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mammolib import parallel
from mammolib.parallel import Stopped, in_parallel, within_limits

CRASH = Stopped("crashes what reads it")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_with_five_lines_of_progress(capsys, workers):
    assert list(in_parallel(operator.sub, [(k, 1) for k in range(23)], "files", workers)) == list(range(-1, 22))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{n} of 23 files" for n in (5, 10, 15, 20, 23)]


def test_progress_tells_speed_and_time_left_and_slow_work_more_often(capsys, monkeypatch):
    clock = iter([100, 100.5, 101, 111, 113, 119, 121.5, 122])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert "".join(parallel.told("abcdefg", 7, "files")) == "abcdefg"
    assert capsys.readouterr().out.splitlines() == [
        "2 of 7 files, 2.0 a second, 0:00:02 left",
        "3 of 7 files, 0.3 a second, 0:00:15 left",  # more than 10 s have passed
        "4 of 7 files, 0.3 a second, 0:00:10 left",
        "6 of 7 files, 0.3 a second, 0:00:04 left",  # more than 20 s, and a fifth
        "7 of 7 files, 0.3 a second, 0:00:00 left",
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_to_do_and_an_error_that_is_not_swallowed(workers):
    assert list(in_parallel(operator.sub, [], "files", workers)) == []
    assert list(within_limits(operator.sub, [], "files", workers)) == []
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(operator.floordiv, [(4, 2), (1, 0), (9, 3)], "files", workers))


@pytest.mark.parametrize(("workers", "rows", "started"), [(0, 9, 3), (0, 2, 2), (40, 4, 4), (2, 9, 2)])
def test_no_more_workers_than_usable_cores_or_rows(monkeypatch, workers, rows, started):
    class Pool:
        def __init__(self, count, initializer):
            asked.append(count)

        def map(self, function, *columns, chunksize):
            return map(function, *columns)

        def shutdown(self, cancel_futures):
            pass

    asked = []
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 6}, raising=False)
    assert list(in_parallel(abs, [(k,) for k in range(rows)], "files", workers)) == list(range(rows))
    assert asked == [started]
    assert len({pid for _, pid in within_limits(own_id, [(0.3,)] * rows, "files", workers)}) == started


def own_id(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def work(number: int, trouble: str) -> int:
    """Give the number back, unless there is trouble."""
    if trouble == "crash":
        ctypes.string_at(0)
    elif trouble == "end":
        os._exit(0)
    elif trouble == "hang":
        time.sleep(60)
    elif trouble == "hang in C":
        ctypes.PyDLL(None).sleep(60)  # holds the interpreter's lock
    elif trouble == "memory":
        np.ones(2**31, np.uint8)
    elif trouble == "raise":
        raise ValueError("PatientName^Planted")
    elif trouble == "panic":
        raise BaseException("PatientName^Planted")
    return number


TROUBLES = {
    "crash": "crashes what reads it",
    "end": "crashes what reads it",
    "hang": "takes too long to read",
    "hang in C": "takes too long to read",
    "memory": "fails while it is read (MemoryError)",
    "raise": "fails while it is read (ValueError)",
    "panic": "fails while it is read (BaseException)",
}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_bad_row_is_marked_and_all_others_are_done(capfd, workers):
    rows = [(k, "") for k in range(30)]
    bad = {4 * k + 1: (trouble, Stopped(detail)) for k, (trouble, detail) in enumerate(TROUBLES.items())}
    for k, (trouble, _) in bad.items():
        rows[k] = (k, trouble)
    found = list(within_limits(work, rows, "rows", workers, seconds=0.5))
    assert sorted(found) == [(k, bad[k][1] if k in bad else k) for k in range(30)]
    assert "30 of 30 rows" in capfd.readouterr().out
    assert "Planted" not in capfd.readouterr().err


def crash_once(file: Path) -> str:
    if not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does where memory is short
    return "done"


def test_a_row_whose_process_ended_is_tried_once_more(tmp_path):
    assert list(within_limits(crash_once, [(tmp_path / "a",)], "rows", 1)) == [(0, "done")]


KEPT = []


def take(megabytes: int) -> int:
    KEPT.append(np.ones(megabytes * 2**20, np.uint8))
    return os.getpid()


def test_a_process_that_has_grown_is_replaced_before_it_fails_a_row():
    """30 rows leave 100 MiB behind each: one process would be 3 GiB, of which it has 1."""
    processes = [process for _, process in within_limits(take, [(100,)] * 30, "rows", 1)]
    assert all(isinstance(process, int) for process in processes)
    assert len(set(processes)) == 15  # 128 MiB is the most that one keeps


def test_a_worker_that_can_t_begin_is_no_row_s_fault(monkeypatch):
    monkeypatch.setattr(parallel, "start_worker", lambda: os._exit(3))
    with pytest.raises(RuntimeError, match=r"before its first row \(exit status 3\)"):
        list(within_limits(work, [(1, "")], "rows", 1))


def children_of(process: int) -> list[int]:
    """Processes that a process has started."""
    listed = Path(f"/proc/{process}/task/{process}/children")
    if not listed.exists():
        pytest.skip("this system does not list a process' children")
    return [int(child) for child in listed.read_text().split()]


def test_no_process_is_left_when_the_results_are_not_wanted_any_more():
    before = children_of(os.getpid())
    results = within_limits(own_id, [(0,)] * 3 + [(60,)] * 6, "rows", 2)
    next(results)
    assert len(children_of(os.getpid())) == len(before) + 2
    results.close()
    assert children_of(os.getpid()) == before


@pytest.mark.parametrize(
    ("function", "end"),
    [("in_parallel", signal.SIGKILL), ("within_limits", signal.SIGKILL), ("within_limits", signal.SIGINT)],
)
def test_workers_end_with_their_parent(function, end):
    # In the background of a script, shells let Ctrl-C be ignored
    work = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); "
    work += "from mammolib.parallel import {0}; list({0}(time.sleep, [(60,)] * 9, 'x', 2))"
    command = [sys.executable, "-c", work.format(function)]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while len(workers := children_of(parent.pid)) < 2:
        assert parent.poll() is None
        time.sleep(0.1)
    time.sleep(1)  # their first look at the parent
    if end == signal.SIGINT:
        os.killpg(parent.pid, end)  # Ctrl-C reaches all of them
        assert parent.communicate()[1].count("Traceback") == 1
    else:
        parent.send_signal(end)
        parent.wait()
    until = time.monotonic() + 15
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until, "workers outlive their parent"
        time.sleep(0.2)
