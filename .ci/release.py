"""
Make a release ready: ``make release``, or ``make release TAG=yes`` for the tag as well.

The version stands in dorm_vector/__init__.py and nowhere else. The sdist and the wheel are built,
checked by twine, and each is installed into a clean environment, where the tests of the sdist run
against what was installed. Nothing is uploaded or pushed: what is left to do is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "build" / "release"
VERSION = re.compile(r'^__version__ = "(?P<version>[^"]+)"$', re.MULTILINE)
FINAL = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
# What users of the sdist look for, and what has no place in the wheel.
IN_SDIST = (
    *("Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CITATION.cff"),
    *("LICENSE", "pyproject.toml", ".ci/install.py", ".pre-commit-config.yaml"),
    *("benchmarks/suite.py", "docs/index.rst", "example_project/manage.py", "tests/conftest.py"),
)
IN_WHEEL = ("dorm_vector/__init__.py", "dorm_vector/py.typed")
NOT_IN_WHEEL = ("tests/", "docs/", "benchmarks/", "example_project/", ".ci/")


def main() -> int | str:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tag", action="store_true", help="Make the tag, where nothing is left.")
    options = parser.parse_args()
    version = version_of((ROOT / "dorm_vector/__init__.py").read_text())
    print(f"dorm_vector {version}", flush=True)
    files = build(version)
    run(sys.executable, "-m", "twine", "check", "--strict", *map(str, files))
    for file in files:
        if missing := lacks(file):
            return f"{file.name}: {', '.join(missing)}."
    for file in files:
        test_installed(file, files[0])
    left = [*unready(version, (ROOT / "CHANGELOG.md").read_text()), *unclean(version)]
    if options.tag and not left:
        run("git", "tag", "--annotate", f"v{version}", "--message", f"dorm_vector {version}")
    print("\n".join(["", "Built and tested:", *(f"  {file}" for file in files), ""]))
    print(
        "\n".join(["Left to do by hand:", *(f"  - {each}" for each in [*left, *by_hand(version)])])
    )
    return "No tag was made: see above." if options.tag and left else 0


def version_of(text: str) -> str:
    """The version in the text of the package's first file."""
    found = VERSION.search(text)
    if not found:
        raise SystemExit('dorm_vector/__init__.py has no line __version__ = "...".')
    return found["version"]


def unready(version: str, changelog: str) -> list[str]:
    """What the version and the changelog lack."""
    left = []
    if not FINAL.fullmatch(version):
        left.append(
            f"{version} is no version of a release: set __version__ in dorm_vector/__init__.py."
        )
    if not re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE
    ):
        left.append(f"CHANGELOG.md has no line ## [{version}] - YYYY-MM-DD.")
    unreleased = changelog.partition("## [Unreleased]")[2].partition("\n## ")[0]
    if re.search("^- ", unreleased, re.MULTILINE):
        left.append(f"CHANGELOG.md has lines under Unreleased: put them under {version}.")
    return left


def unclean(version: str) -> list[str]:
    """What git has that a release must not have."""
    if not (ROOT / ".git").exists():
        return ["This is no clone of the repository: the tag is made in one."]
    left = []
    if said("git", "status", "--porcelain"):
        left.append("There are changes that are not committed.")
    if said("git", "tag", "--list", f"v{version}"):
        left.append(f"The tag v{version} is there already.")
    return left


def by_hand(version: str) -> list[str]:
    return [
        f"git tag --annotate v{version} --message 'dorm_vector {version}', or make release TAG=yes",
        f"git push origin v{version}",
        f"{sys.executable} -m twine upload {BUILT.relative_to(ROOT)}/*",
        "the next version, with .dev0, in dorm_vector/__init__.py, and an empty Unreleased",
    ]


def build(version: str) -> list[Path]:
    """The sdist and the wheel."""
    shutil.rmtree(BUILT, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", str(BUILT), str(ROOT))
    files = [
        BUILT / f"dorm_vector-{version}.tar.gz",
        BUILT / f"dorm_vector-{version}-py3-none-any.whl",
    ]
    if sorted(files) != sorted(BUILT.iterdir()):
        raise SystemExit(f"Built were {', '.join(sorted(each.name for each in BUILT.iterdir()))}.")
    return files


def lacks(file: Path) -> list[str]:
    """What a distribution has not, or has too much."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        too_much = [each for each in NOT_IN_WHEEL if any(name.startswith(each) for name in names)]
        return [
            *(f"lacks {each}" for each in IN_WHEEL if each not in names),
            *(f"has {each}" for each in too_much),
        ]
    with tarfile.open(file) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    return [f"lacks {each}" for each in IN_SDIST if each not in inside]


def test_installed(file: Path, sdist: Path) -> None:
    """Run what every engine promises on an installed distribution, in an environment of its own."""
    matrix = _matrix()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The tests of the sdist, without the package beside them: what was installed is imported.
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        source = next(folder.glob("dorm_vector-*"))
        shutil.rmtree(source / "dorm_vector")
        run(sys.executable, "-m", "venv", str(folder / "venv"))
        python = str(folder / "venv" / "bin" / "python")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*install, f"{file}[{matrix.EXTRAS}]", *matrix.TOOLS)
        where = "import dorm_vector; print(dorm_vector.__version__, dorm_vector.__file__)"
        run(python, "-c", where, cwd=source)
        run(python, "-m", "pytest", "-q", *matrix.XDIST, *matrix.CONTRACT, cwd=source)


def _matrix() -> object:
    spec = importlib.util.spec_from_file_location("matrix", Path(__file__).with_name("matrix.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["matrix"] = module
    spec.loader.exec_module(module)
    return module


def run(*command: str, cwd: Path = ROOT) -> None:
    print("$", *command, flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=cwd, env=environment, check=False)
    if ended.returncode:
        raise SystemExit(f"{command[0]} ended with {ended.returncode}.")


def said(*command: str) -> str:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
