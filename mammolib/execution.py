"""Execute one notebook through papermill, with the traps of kernels and of executed copies handled."""

import fcntl
import itertools
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any

import nbformat

from mammolib.parallel import stderr_to
from mammolib.rooms import project_root, shown_parameters

# TensorFlow's start-up lines bypass Python's stderr; without the capture they stay out of the executed copy.
MANY_LINES = 60  # of epochs in one cell: a reader of the copy wants no more
EPOCH = re.compile(r" epoch +(\d+)/(\d+) ")
KERNEL_ARGUMENTS = ["--IPKernelApp.capture_fd_output=False", "--IPKernelApp.log_level=40"]
KERNEL_ARGUMENTS += ["--HistoryManager.enabled=False"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of a profile's folder; the system drops the lock when the process ends, however it does.

    Raises
    ------
    ValueError
        Where another process is at work there.
    """
    descriptor = os.open(folder, os.O_RDONLY)  # the folder itself is locked, so nothing is left behind
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another run is at work here; wait, or give another --outputs") from None
        except OSError as error:
            raise ValueError(f"{folder}: can't be locked ({error.strerror}); give another --outputs") from None
        yield
    finally:
        os.close(descriptor)


def execute(profile: str, name: str, values: dict[str, Any], partial: Path) -> str | None:
    """Call papermill; return None, or the error in one line. A kernel that never started is tried once more."""
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    source = project_root() / "notebooks" / f"{name}.ipynb"
    # a kernel's name in the notebook's metadata may be missing elsewhere
    kernel = {"kernel_name": "python3", "language": "python", "extra_arguments": KERNEL_ARGUMENTS}
    kernel |= {"cwd": project_root(), "progress_bar": False}
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of every `str | None` parameter as unknown
    for attempt in itertools.count(1):
        try:
            with kernel_environment(profile):
                execute_notebook(source, partial, values, **kernel, stdout_file=sys.stdout, stderr_file=sys.stderr)
            return None
        except PapermillExecutionError as error:
            return f"{error.ename}: {one_line(error.evalue)}"
        except Exception as error:  # papermill lets those of nbclient, zmq and jupyter_client through
            if attempt == 2 or was_started(partial):
                hint = " (killed, out of memory?)" if "Dead" in type(error).__name__ else ""
                return f"{type(error).__name__}: {one_line(str(error))}{hint}"
            print(f"the kernel did not start ({one_line(str(error))}); trying once more", file=sys.stderr)


@contextmanager
def kernel_environment(profile: str) -> Iterator[None]:
    """Set what a kernel inherits (papermill offers no other way), and put everything back."""
    before = dict(os.environ)
    os.environ |= {"MAMMOLIB_PROJECT": str(project_root()), "MAMMOLIB_PROFILE": profile}
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    os.environ.pop("MPLBACKEND", None)  # any other than the kernel's own would leave the figures out
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


@contextmanager
def kernel_stderr(log: Path) -> Iterator[None]:
    """Send what a kernel writes past Python (start-up lines, the words of a crash) to a file, off the terminal.

    Kernels inherit file descriptor 2; Python's own `sys.stderr` goes on to where that was.
    """
    with log.open("wb") as opened, stderr_to(opened) as terminal, redirect_stderr(terminal):
        yield


def one_line(text: str) -> str:
    """Join a text to one line of at most 400 characters."""
    return " ".join(text.split())[:400]


def code_cells(notebook: Path) -> list:
    """Return the code cells of a partial copy, none where it was never written or can't be read."""
    with suppress(OSError, ValueError):  # cut short by a full disk
        return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    return []


def was_started(notebook: Path) -> bool:
    """Tell whether any cell was reached."""
    return any(cell.metadata.get("papermill", {}).get("start_time") for cell in code_cells(notebook))


def describe_stop(notebook: Path) -> str:
    """Name the cell where a run stopped: the last one that was reached."""
    reached = [cell for cell in code_cells(notebook) if cell.execution_count is not None or cell.outputs]
    if not reached:
        return "before its first cell"
    return f"cell {reached[-1].get('id', '?')} [{reached[-1].execution_count}]"


def every_tenth_epoch(text: str) -> str:
    """Leave out lines of epochs but for the first, every tenth and the last; other lines stay."""
    kept = []
    for line in text.splitlines(keepends=True):
        found = EPOCH.search(line)
        epoch, epochs = map(int, found.groups()) if found else (1, 1)
        if epoch in (1, epochs) or epoch % 10 == 0:
            kept.append(line)
    return "".join(kept)


def tidy(notebook: Path) -> int:
    """Take stderr, folders, clock times and most lines of many epochs out of an executed copy, in place.

    Returns the number of stderr lines taken out.
    """
    content = nbformat.read(notebook, as_version=4)
    given = content.metadata["papermill"]["parameters"]
    shown, noise = shown_parameters(given), 0
    for cell in content.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = "injected-parameters"  # papermill draws a new one each time
            for name in given:
                if shown[name] != given[name]:
                    line = f"{name} = {shown[name]!r}"
                    cell.source = re.sub(rf"(?m)^{name} = .*$", lambda _, line=line: line, cell.source)
        if cell.cell_type == "code":
            texts = [output.text for output in cell.outputs if output.get("name") == "stderr"]
            noise += sum(len("".join(text).splitlines()) for text in texts)
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            streams = [output for output in cell.outputs if output.output_type == "stream"]
            if sum(len(EPOCH.findall(output.text)) for output in streams) > MANY_LINES:
                for output in streams:
                    output.text = every_tenth_epoch(output.text)
                streams[-1].text += "(of each network the first, every tenth and the last epoch; the run shows all)\n"
    kept = ("parameters", "duration", "version")
    content.metadata["papermill"] = {key: content.metadata["papermill"][key] for key in kept} | {"parameters": shown}
    nbformat.write(content, notebook)
    return noise
