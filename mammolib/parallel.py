"""The same work for many rows, spread over processes, with a plain line of progress now and then.

`in_parallel` is for work that is trusted. `within_limits` is for files from anywhere: a job that hangs, swallows the
memory or takes its process down is marked, and the others go on.
"""

import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from threadpoolctl import threadpool_limits

PROGRESS_LINES = 5
MEMORY = Path("/proc/self/statm")  # of this process, in pages; Linux has it
TIMED_OUT = -signal.SIGALRM  # exit status


class Stopped(NamedTuple):
    """What stands for the result of a job that ended its process; `detail` names no file."""

    detail: str


@contextmanager
def stderr_to(opened: BinaryIO) -> Iterator[TextIO]:
    """Send to a file what goes to file descriptor 2 past Python, of decoders and kernels; yield where that led."""
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w") as terminal:
        os.dup2(opened.fileno(), 2)
        try:
            yield terminal
        finally:
            terminal.flush()
            os.dup2(terminal.fileno(), 2)


def usable_cores() -> int:
    """Return the cores this process may use: SLURM, taskset and containers give it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_worker() -> None:
    """Keep a worker to one thread of linear algebra, and let it end when its parent is killed.

    One process a core, each with a thread a core, waits more than it works: the phantoms took twice as long. An orphan
    would wait for work for ever.
    """
    threadpool_limits(1)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def told(results: Iterable, total: int, noun: str) -> Iterator[Any]:
    """Pass results on, and print after each fifth, and after 10, 20, 40 ... seconds, how many are done."""
    began, pause = time.perf_counter(), 10
    for done, result in enumerate(results, start=1):
        yield result
        seconds = max(time.perf_counter() - began, 1e-9)
        if done % -(-total // PROGRESS_LINES) == 0 or done == total or seconds > pause:
            pause = 2 * pause if seconds > pause else pause
            left = timedelta(seconds=round(seconds / done * (total - done)))
            rate = f"{done / seconds:.{1 if done < 10 * seconds else 0}f}"
            print(f"{done} of {total} {noun}, {rate} a second, {left} left", flush=True)


def in_parallel(function: Callable, rows: Iterable[Sequence], noun: str, workers: int = 0) -> Iterator[Any]:
    """Yield `function(*row)` for every row, in order, and print how many are done.

    Parameters
    ----------
    function
        Of a module: processes find it by name.
    noun
        What a row is, in the printed lines ("120 of 600 files, 23 a second, 0:00:21 left").
    workers
        Processes, never more than rows; 0 takes every usable core, 1 works in this process.

    Raises
    ------
    Exception
        Whatever the function raises; what has not begun by then is dropped.
    """
    rows = list(rows)
    if not rows:
        return
    workers = min(workers or usable_cores(), len(rows))
    pool = ProcessPoolExecutor(workers, initializer=start_worker) if workers > 1 else None
    try:
        results = (partial(pool.map, chunksize=4) if pool else map)(function, *zip(*rows, strict=True))
        yield from told(results, len(rows), noun)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)


def within_limits(
    function: Callable, rows: Sequence, noun: str, workers: int = 0, seconds: float = 10, memory: int = 2**30
) -> Iterator[tuple[int, Any]]:
    """Yield (number of the row, `function(*row)` or `Stopped`) as each row is done, and print how many are.

    No row is worked on in this process, and each process has one at a time: when it ends, that row is the guilty one,
    and a new process takes its place. A row whose process ended before its time (a crash in a decoder, but also a
    machine out of memory) is tried once more. A process that keeps an eighth of `memory` after a row is replaced.

    Parameters
    ----------
    function, noun
        As in `in_parallel`. Where the function raises, the row is `Stopped`.
    workers
        Processes; 0 takes every usable core.
    seconds
        A row may take; then a timer of the system ends the process.
    memory
        Bytes that a process may take beyond what it has at its start, then an allocation fails. Kept on Linux only.

    Raises
    ------
    RuntimeError
        Where a process ends before its first row: then it is not the rows that are bad.
    """
    crew, limits = {}, (seconds, memory)
    try:
        for _ in range(min(workers or usable_cores(), len(rows))):
            begin_worker(crew, function, limits)
        yield from told(answers(crew, function, limits, rows), len(rows), noun)
    finally:
        for process, _ in crew.values():
            process.kill()
            process.join()


def begin_worker(crew: dict, function: Callable, limits: tuple[float, int]) -> None:
    """Start a process and put it into `crew`: connection -> (process, number of the row in hand, None at first)."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs, function, *limits), daemon=True)
    process.start()
    theirs.close()  # so that the process' end is the connection's
    crew[ours] = process, None


def serve(connection: Connection, function: Callable, seconds: float, memory: int) -> None:
    """Work on rows as they come, until the parent or a limit ends this process."""
    start_worker()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends its workers itself
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the system's own: a decoder that hangs lets no Python run
    faulthandler.disable()  # a crash is a result here, and leaves nothing of a patient's in a core file
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = held_memory()
    if before:
        resource.setrlimit(resource.RLIMIT_DATA, (before + memory, resource.RLIM_INFINITY))
    with suppress(EOFError, OSError):  # the parent has gone
        connection.send((None, False))
        while True:
            row = connection.recv()
            signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                result = function(*row)
            except BaseException as error:  # its message may hold what a file says
                result = Stopped(f"fails while it is read ({type(error).__name__})")
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send((result, held_memory() - before > memory / 8))


def held_memory() -> int:
    """Bytes of data of this process, 0 where the system doesn't tell."""
    return int(MEMORY.read_text().split()[5]) * resource.getpagesize() if MEMORY.exists() else 0


def answers(crew: dict, function: Callable, limits: tuple[float, int], rows: Sequence) -> Iterator[tuple[int, Any]]:
    """Hand rows out to the crew and yield what comes back; a process that ended or has grown is replaced."""
    waiting, again = deque(range(len(rows))), set()
    while crew:
        for connection in wait(list(crew)):
            process, number = crew[connection]
            result, spent = answer(connection, process, number)
            if isinstance(result, Stopped) and process.exitcode != TIMED_OUT and number not in again:
                again.add(number)
                waiting.append(number)
                number = None
            if waiting and not spent:
                crew[connection] = process, waiting.popleft()
                with suppress(OSError):  # it has just ended: the next wait finds out
                    connection.send(rows[crew[connection][1]])
            else:
                process.kill()
                process.join()
                del crew[connection]
            if waiting and spent:
                begin_worker(crew, function, limits)
            if number is not None:
                yield number, result


def answer(connection: Connection, process: multiprocessing.Process, number: int | None) -> tuple[Any, bool]:
    """Result of the row in hand, and whether its process can't go on."""
    with suppress(Exception):  # the end, or whatever a broken process wrote
        return connection.recv()
    process.kill()
    process.join()
    if number is None:
        raise RuntimeError(f"a worker process ended before its first row (exit status {process.exitcode})")
    return Stopped("takes too long to read" if process.exitcode == TIMED_OUT else "crashes what reads it"), True
