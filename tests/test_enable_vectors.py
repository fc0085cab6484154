"""``enable_vectors``, and ``makemigrations`` beside other apps that have their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
execute_from_command_line(sys.argv)
"""
LEAF = "from django.db import migrations\nclass Migration(migrations.Migration):\n    {}\n"
# A command that is one of another app, with an option and a message of its own.
OWN = """
from {base} import Command as Base

class Command(Base):
    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--shout", action="store_true")

    def handle(self, *app_labels, **options):
        shout = options.pop("shout")
        super().handle(*app_labels, **options)
        self.stdout.write("OWN" if shout else "own")
"""
DJANGOS = "django.core.management.commands.makemigrations"
OURS = "dorm_vector.management.commands.makemigrations"
DEAF = """
from django.core.management.commands.makemigrations import Command as Base

class Command(Base):
    def handle(self, *app_labels, **options):
        pass
"""


class Site:
    """A project in a folder of its own, with the apps ``shop`` and ``blog``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "manage.py").write_text(MANAGE)
        for label in ("shop", "blog"):
            self.write(f"{label}/__init__.py")
            self.write(f"{label}/migrations/__init__.py")
        self.install()

    def write(self, name: str, text: str = "") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def install(self, *apps: str) -> None:
        listed = [*(apps or ("dorm_vector",)), "shop", "blog"]
        self.write("site_settings.py", f"INSTALLED_APPS = {listed!r}\nDATABASES = {{}}\n")

    def add_command(self, app: str, text: str) -> None:
        self.write(f"{app}/__init__.py")
        self.write(f"{app}/management/__init__.py")
        self.write(f"{app}/management/commands/__init__.py")
        self.write(f"{app}/management/commands/makemigrations.py", text)

    def manage(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "manage.py", *args],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )

    def run(self, *args: str) -> str:
        done = self.manage(*args)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def refused(self, *args: str) -> str:
        done = self.manage(*args)
        assert done.returncode == 1
        return done.stderr.splitlines()[-1]

    def files(self, label: str) -> list[str]:
        folder = self.folder / label / "migrations"
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("__"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class TestEnableVectors:
    def test_several_apps(self, site: Site) -> None:
        site.write("blog/migrations/0007_last.py", LEAF.format("pass"))
        assert site.run("enable_vectors", "shop", "blog", "shop") == (
            "Migrations for 'shop':\n"
            "  shop/migrations/0001_enable_pgvector.py\n"
            "    + Install vector support (pgvector or sqlite-vec)\n"
            "Migrations for 'blog':\n"
            "  blog/migrations/0008_enable_pgvector.py\n"
            "    + Install vector support (pgvector or sqlite-vec)\n"
        )
        text = (site.folder / "blog/migrations/0008_enable_pgvector.py").read_text()
        assert "('blog', '0007_last')" in text
        assert "dorm_vector.operations.VectorExtension" in text
        assert site.run("makemigrations", "--check") == "No changes detected\n"

    def test_name(self, site: Site) -> None:
        site.run("enable_vectors", "shop", "--name", "vectors", "--no-header")
        assert site.files("shop") == ["0001_vectors.py"]
        assert "Generated" not in (site.folder / "shop/migrations/0001_vectors.py").read_text()

    def test_schema(self, site: Site) -> None:
        site.run("enable_vectors", "shop", "--schema", "public")
        text = (site.folder / "shop/migrations/0001_enable_pgvector.py").read_text()
        assert "schema='public'" in text

    def test_dry_run(self, site: Site) -> None:
        assert "0001_enable_pgvector.py" in site.run("enable_vectors", "shop", "--dry-run")
        assert site.files("shop") == []

    def test_check(self, site: Site) -> None:
        site.run("enable_vectors", "shop")
        done = site.manage("enable_vectors", "shop", "blog", "--check")
        assert done.returncode == 1
        assert done.stdout == "blog has no migration with VectorExtension.\n"
        assert site.files("blog") == []
        site.run("enable_vectors", "blog")
        assert site.run("enable_vectors", "shop", "blog", "--check") == ""

    def test_nothing_is_written_by_halves(self, site: Site) -> None:
        site.run("enable_vectors", "blog")
        assert site.refused("enable_vectors", "shop", "blog") == (
            "CommandError: blog already has VectorExtension, in 0001_enable_pgvector."
        )
        assert site.files("shop") == []

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (["nowhere"], "No installed app with label 'nowhere'."),
            (["shop", "-n", "1st"], "The migration name must be a valid Python identifier."),
        ],
    )
    def test_refused(self, site: Site, arguments: list[str], error: str) -> None:
        assert site.refused("enable_vectors", *arguments) == f"CommandError: {error}"

    def test_several_latest_migrations(self, site: Site) -> None:
        for name in ("0001_a", "0001_b"):
            site.write(f"shop/migrations/{name}.py", LEAF.format("pass"))
        assert site.refused("enable_vectors", "shop") == (
            "CommandError: shop has several latest migrations (0001_a, 0001_b); merge them first: "
            "manage.py makemigrations --merge"
        )


class TestBesideOthers:
    LINEAR = "django_linear_migrations"

    @pytest.mark.parametrize("order", ["before", "after"])
    def test_linear_migrations(self, site: Site, order: str) -> None:
        pytest.importorskip(self.LINEAR)
        apps = ["dorm_vector", self.LINEAR]
        site.install(*(apps if order == "after" else reversed(apps)))
        site.write("shop/migrations/max_migration.txt", "")
        site.run("enable_vectors", "shop")
        latest = site.folder / "shop/migrations/max_migration.txt"
        assert latest.read_text() == "0001_enable_pgvector\n"
        site.run("makemigrations", "shop", "--empty", "--name", "more")
        assert latest.read_text() == "0002_more\n"

    def test_linear_migrations_and_the_option(self, site: Site) -> None:
        pytest.importorskip(self.LINEAR)
        site.install("dorm_vector", self.LINEAR)
        site.run("makemigrations", "--enable-pgvector", "shop")
        latest = site.folder / "shop/migrations/max_migration.txt"
        assert latest.read_text() == "0001_enable_pgvector\n"

    @pytest.mark.parametrize("base", [DJANGOS, OURS])
    @pytest.mark.parametrize("order", ["before", "after"])
    def test_a_projects_own(self, site: Site, order: str, base: str) -> None:
        site.add_command("tools", OWN.format(base=base))
        apps = ["dorm_vector", "tools"]
        site.install(*(apps if order == "after" else reversed(apps)))
        assert site.run("makemigrations", "--shout") == "No changes detected\nOWN\n"
        assert site.run("makemigrations") == "No changes detected\nown\n"
        assert site.run("enable_vectors", "shop").endswith("own\n")
        if order == "after" or base == OURS:
            found = site.run("makemigrations", "--enable-pgvector", "blog", "--shout")
            assert found.endswith("OWN\n")
            assert site.files("blog") == ["0001_enable_pgvector.py"]
        assert site.files("shop") == ["0001_enable_pgvector.py"]

    def test_one_that_does_not_call_djangos(self, site: Site) -> None:
        site.add_command("tools", DEAF)
        site.install("dorm_vector", "tools")
        assert site.run("makemigrations") == ""
        assert site.refused("makemigrations", "--enable-pgvector", "shop") == (
            "CommandError: The makemigrations of tools.management.commands.makemigrations does not "
            "know --enable-pgvector, and does not call Django's; use manage.py enable_vectors."
        )
