"""Work spread over processes: order, progress, errors."""

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mammolib import parallel
from mammolib.parallel import in_parallel


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_with_five_lines_of_progress(capsys, workers):
    assert list(in_parallel(operator.sub, [(k, 1) for k in range(23)], "files", workers)) == list(range(-1, 22))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{n} of 23 files" for n in (5, 10, 15, 20, 23)]


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_to_do_and_an_error_that_is_not_swallowed(workers):
    assert list(in_parallel(operator.sub, [], "files", workers)) == []
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


def test_workers_end_when_their_parent_is_killed():
    work = "import time; from mammolib.parallel import in_parallel; list(in_parallel(time.sleep, [(60,)] * 9, 'x', 2))"
    parent = subprocess.Popen([sys.executable, "-c", work])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("this system does not list a process' children")
    while len(workers := children.read_text().split()) < 2:
        assert parent.poll() is None
        time.sleep(0.1)
    time.sleep(1)  # their first look at the parent
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 15
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until, "workers outlive their parent"
        time.sleep(0.2)
