"""What a release is made of: its version, its changelog, its hooks, and what is left to do."""

from __future__ import annotations

import importlib.util
import io
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import dorm_vector
from tests.support.paths import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


@pytest.fixture(scope="module")
def release() -> Any:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci/release.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestVersion:
    def test_it_stands_in_one_place(self, release: Any) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        assert project["project"]["dynamic"] == ["version"]
        assert project["tool"]["hatch"]["version"]["path"] == "dorm_vector/__init__.py"
        text = (ROOT / "dorm_vector/__init__.py").read_text()
        assert release.version_of(text) == dorm_vector.__version__
        assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text())

    def test_none(self, release: Any) -> None:
        with pytest.raises(SystemExit, match="has no line __version__"):
            release.version_of("version = '1'")


class TestChangelog:
    """In the order of Keep a Changelog."""

    HEADS = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)

    def test_versions(self) -> None:
        first, *others = self.HEADS
        assert first == "[Unreleased]"
        found = [
            re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", each) for each in others
        ]
        assert all(found)
        versions = [tuple(map(int, each.groups())) for each in found if each]
        assert versions == sorted(versions, reverse=True)
        assert (0, 1, 0) in versions

    def test_kinds_of_changes(self) -> None:
        for section in CHANGELOG.split("\n## ")[1:]:
            kinds = re.findall(r"^### (.*)$", section, re.MULTILINE)
            assert kinds == [each for each in KINDS if each in kinds]
            assert kinds

    def test_every_line_belongs_to_a_kind(self) -> None:
        for section in CHANGELOG.split("\n## ")[1:]:
            assert not re.search(r"^- ", section.partition("\n### ")[0], re.MULTILINE)


class TestUnready:
    TEXT = "# Changelog\n\n## [Unreleased]\n\n## [1.0.0] - 2026-01-02\n\n### Added\n\n- All.\n"

    def test_ready(self, release: Any) -> None:
        assert release.unready("1.0.0", self.TEXT) == []

    def test_a_development_version(self, release: Any) -> None:
        assert release.unready("1.1.0.dev0", self.TEXT) == [
            "1.1.0.dev0 is no version of a release: set __version__ in dorm_vector/__init__.py.",
            "CHANGELOG.md has no line ## [1.1.0.dev0] - YYYY-MM-DD.",
        ]

    def test_what_is_unreleased(self, release: Any) -> None:
        text = self.TEXT.replace("[Unreleased]\n", "[Unreleased]\n\n### Fixed\n\n- One.\n")
        assert release.unready("1.0.0", text) == [
            "CHANGELOG.md has lines under Unreleased: put them under 1.0.0."
        ]

    def test_nothing_is_uploaded(self, release: Any) -> None:
        """The upload is a line for a person; git makes a tag, if asked, and pushes nothing."""
        text = (ROOT / ".ci/release.py").read_text()
        assert not re.search(r'run\([^)]*"(upload|push)"', text)
        assert any("twine upload" in each for each in release.by_hand("1.0.0"))


class TestFiles:
    def test_sdist(self, release: Any, tmp_path: Path) -> None:
        file = tmp_path / "dorm_vector-1.tar.gz"
        with tarfile.open(file, "w:gz") as archive:
            for name in release.IN_SDIST[1:]:
                archive.addfile(tarfile.TarInfo(f"dorm_vector-1/{name}"), io.BytesIO())
        assert release.lacks(file) == ["lacks Makefile"]

    def test_wheel(self, release: Any, tmp_path: Path) -> None:
        file = tmp_path / "dorm_vector-1-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("dorm_vector/__init__.py", "")
            archive.writestr("tests/conftest.py", "")
        assert release.lacks(file) == ["lacks dorm_vector/py.typed", "has tests/"]

    def test_what_it_looks_for_is_here(self, release: Any) -> None:
        assert [each for each in release.IN_SDIST if not (ROOT / each).exists()] == []


class TestHooks:
    CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    HOOKS = [hook for repository in CONFIG["repos"] for hook in repository["hooks"]]

    def test_nothing_is_fetched(self) -> None:
        assert {each["repo"] for each in self.CONFIG["repos"]} == {"local"}
        assert {hook["language"] for hook in self.HOOKS} == {"system"}

    @pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
    def test_make_lint_runs_it_as_well(self, hook: dict[str, Any]) -> None:
        recipe = re.search(r"^lint:.*?\n\n", (ROOT / "Makefile").read_text(), re.M | re.S)
        assert recipe
        tool = hook["entry"].removeprefix(".venv/bin/").removesuffix(" --force-exclude")
        assert f"$(BIN)/{tool}" in recipe[0]

    def test_tools_are_pinned(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        lint = project["optional-dependencies"]["lint"]
        pinned = {each.partition("==")[0] for each in lint if "==" in each}
        tools = {hook["entry"].removeprefix(".venv/bin/").partition(" ")[0] for hook in self.HOOKS}
        assert tools - {"python"} <= pinned
        assert "pre-commit" in pinned
