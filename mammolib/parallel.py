"""The same work for many rows, spread over processes, with a plain line of progress now and then."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from threadpoolctl import threadpool_limits

PROGRESS_LINES = 5


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


def in_parallel(function: Callable, rows: Iterable[Sequence], noun: str, workers: int = 0) -> Iterator[Any]:
    """Yield `function(*row)` for every row, in order, and print how many are done.

    Parameters
    ----------
    function
        Of a module: processes find it by name.
    noun
        What a row is, in the printed lines ("120 of 600 files, 23 a second").
    workers
        Processes, never more than rows; 0 takes every usable core, 1 works in this process.

    Raises
    ------
    Exception
        Whatever the function raises; what has not begun by then is dropped.
    """
    rows, began = list(rows), time.perf_counter()
    if not rows:
        return
    every = -(-len(rows) // PROGRESS_LINES)
    workers = min(workers or usable_cores(), len(rows))
    pool = ProcessPoolExecutor(workers, initializer=start_worker) if workers > 1 else None
    try:
        results = (partial(pool.map, chunksize=4) if pool else map)(function, *zip(*rows, strict=True))
        for done, result in enumerate(results, start=1):
            yield result
            if done % every == 0 or done == len(rows):
                print(f"{done} of {len(rows)} {noun}, {done / (time.perf_counter() - began):.0f} a second", flush=True)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
