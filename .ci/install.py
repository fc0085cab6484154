"""
Install dorm_vector with an extra into a virtual environment, and say what happens meanwhile.

``python .ci/install.py .venv demo`` makes .venv where there is none, and ends with a stamp,
.venv/.demo, by which make knows that it is done. Any Python can read this file, also one that is
too old for what it installs.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
STOPPED = 130  # what shells report for Ctrl-C
WIDTH = 76
# What is told of what pip says. The rest is for those who look for a fault.
DOWNLOAD = re.compile(r"Downloading (?P<name>[^-]+)-(?P<version>[^-]+)-?.* \((?P<size>.+)\)$")


def main(folder, extra):
    if sys.version_info < OLDEST:
        here = ".".join(map(str, sys.version_info[:2]))
        return (
            f"Python 3.11 or later is needed, not {here}; use another: make PYTHON=python3.12 ..."
        )
    started = time.monotonic()
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not works(python):
        print(f"Making a virtual environment in {folder} ...", flush=True)
        code, lines = run([sys.executable, "-m", "venv", "--clear", str(folder)])
        if code:
            return failed("Making the virtual environment", lines)
    print(
        f"Installing what “{extra}” needs into {folder}; the first time it is downloaded:",
        flush=True,
    )
    code, lines = run(
        [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
         "--progress-bar", "off", "--editable", f".[{extra}]"],
        tell,
    )  # fmt: skip
    clear()
    if code:
        return failed("pip", lines)
    (folder / f".{extra}").touch()
    print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)
    return 0


def works(python):
    """Whether there is an environment whose making was not interrupted."""
    asked = [str(python), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
    return python.exists() and run(asked)[0] == 0


def run(command, tell=lambda line: None):
    """The exit code of a command, and what it said."""
    lines = []
    # In a session of its own, so that Ctrl-C reaches only this process, which ends the other.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                tell(lines[-1].strip())
        except BaseException:
            process.terminate()
            raise
    return process.returncode, lines


def tell(line):
    """One line that changes where somebody looks on; elsewhere a line for what takes long."""
    found = DOWNLOAD.match(line)
    if found:
        text = "{name} {version}, {size}".format(**found.groupdict())
    elif line.startswith("Installing collected packages: "):
        text = f"{line.count(',') + 1} packages are put in place ..."
    else:
        return
    if sys.stdout.isatty():
        print(f"\r  {text[:WIDTH]:{WIDTH}}", end="", flush=True)
    elif not text.endswith("kB"):
        print(f"  {text}", flush=True)


def clear():
    if sys.stdout.isatty():
        print(f"\r{'':{WIDTH + 2}}\r", end="", flush=True)


def failed(what, lines):
    return "\n".join([*lines[-30:], f"{what} failed; what it said is above."])


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    except KeyboardInterrupt:
        clear()
        print("Stopped while installing; the same command goes on.", file=sys.stderr)
        sys.exit(STOPPED)
