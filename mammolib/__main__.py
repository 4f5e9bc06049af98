"""The command line: `python -m mammolib run PROFILE`, `preview PROFILE`, `report PROFILE` and `html PROFILE`."""

import argparse
import signal
import sys
from pathlib import Path

INTERRUPTED = "interrupted; nothing half-written was left under a final name"


def build_parser() -> argparse.ArgumentParser:
    """Describe the commands; argparse itself exits 2 for anything else."""
    parser = argparse.ArgumentParser(prog="python -m mammolib", description="Run the study, or print what it found.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the notebooks of a profile, in order")
    run.add_argument("profile", help="a folder of params/")
    run.add_argument("--from", dest="start", metavar="NN_name", help="start here; earlier rooms must be unchanged")
    run.add_argument(
        "--to", dest="end", metavar="NN_name", help="stop after this one; results of later ones are removed"
    )
    preview = commands.add_parser("preview", help="what 01 would make of an archive and a pathology list; headers only")
    preview.add_argument("profile", help="one whose 01 has layout archive, or give it by -p")
    for command in (run, preview):
        command.add_argument("-p", dest="overrides", action="append", default=[], metavar="NN_name.parameter=value")
        command.add_argument("--outputs", metavar="DIR", help="write here (default outputs/PROFILE)")
    report = commands.add_parser("report", help="print the result table of a profile")
    page = commands.add_parser("html", help="write the finished notebooks and reports of a profile into one HTML file")
    for command in (report, page):
        command.add_argument("profile")
        command.add_argument("--outputs", metavar="DIR", help="where the profile was run (default outputs/PROFILE)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return 0, 1 (a notebook failed), 2 (bad input) or 130 (interrupted)."""
    chosen = build_parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):  # unwinds, so that no kernel or partial file stays
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup lets a hang-up be ignored
            signal.signal(number, stop)
    try:
        from mammolib import runner  # here, so that Ctrl-C while it is read is answered as later

        if chosen.command == "run":
            return runner.run(chosen.profile, chosen.start, chosen.overrides, chosen.outputs, chosen.end)
        if chosen.command == "preview":
            return print_preview(chosen.profile, chosen.overrides, chosen.outputs)
        return (print_html if chosen.command == "html" else print_report)(chosen.profile, chosen.outputs)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("mammolib"):
            raise
        print(f"error: this Python has no {error.name}; use .venv/bin/python, which make setup makes", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


def stop(number: int, _) -> None:
    """Leave by the way of an exception, with the exit status that shells give a signal."""
    if number == signal.SIGTERM:  # after a hang-up there is no terminal to write to
        print(INTERRUPTED, file=sys.stderr)
    sys.exit(128 + number)


def print_preview(profile: str, overrides: list[str], outputs: str | None) -> int:
    """Print what an archive would give, line by line."""
    from mammolib.preview import preview_lines

    try:
        lines = preview_lines(profile, overrides, outputs)
    except (FileNotFoundError, ValueError) as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def print_report(profile: str, outputs: str | None) -> int:
    """Print the result table, line by line."""
    from mammolib import report

    try:
        lines = report.result_lines(profile, outputs_of(profile, outputs, f"{report.NOTEBOOK}.json"))
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def print_html(profile: str, outputs: str | None) -> int:
    """Write a profile's run as one HTML file and print where it is."""
    from mammolib import html_export, rooms

    try:
        path = html_export.write_html(profile, outputs_of(profile, outputs, "[0-9][0-9]_*.json"))
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(rooms.short(path))
    return 0


def outputs_of(profile: str, outputs: str | None, wanted: str) -> Path:
    """Return the folder of a profile's outputs; ValueError where none is called so, nor has a file like `wanted`."""
    from mammolib import rooms, runner

    folder, known = rooms.resolve(outputs or f"outputs/{profile}"), runner.profiles()
    if outputs is None and profile not in known and not any(folder.glob(wanted)):
        raise ValueError(f"no profile is called {profile!r}; there are {', '.join(known) or 'none'}")
    return folder


if __name__ == "__main__":
    sys.exit(main())
