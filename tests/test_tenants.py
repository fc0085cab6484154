"""The recipe for django-tenants in docs/migrations.rst, and what happens without it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support import postgres
from tests.support.paths import ROOT

SETTINGS = """
DATABASES = {{"default": {{**{database!r}, "ENGINE": "django_tenants.postgresql_backend"}}}}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "dorm_vector", "customers"]
TENANT_APPS = ["shop"]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "customers.Client"
TENANT_DOMAIN_MODEL = "customers.Domain"
SECRET_KEY = "not a secret"
"""
CUSTOMERS = """
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

class Client(TenantMixin):
    auto_drop_schema = True

class Domain(DomainMixin):
    pass
"""
SHOP = """
from dorm_vector import HnswIndex, VectorQuerySet, models

class Document(models.Model):
    title = models.CharField(max_length=50)
    embedding = models.VectorField(3)
    objects = VectorQuerySet.as_manager()

    class Meta:
        indexes = [HnswIndex(fields=["embedding"], name="document_embedding", metric="l2")]
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
execute_from_command_line(sys.argv)
"""
SEARCH = """
from customers.models import Client
from django_tenants.utils import schema_context
from shop.models import Document

def search(name):
    with schema_context(name):
        return [d.title for d in Document.objects.nearest("embedding", [1, 0, 0], k=1, metric="l2")]

for name in ("first", "second"):
    Client.objects.create(schema_name=name)
    with schema_context(name):
        Document.objects.create(title=f"{name}: near", embedding=[1, 1, 0])
        Document.objects.create(title=f"{name}: far", embedding=[9, 9, 9])
print(search("first"), search("second"))
with schema_context("public"):
    Client.objects.get(schema_name="first").delete()
print(search("second"))
"""


class Site:
    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        database = {**postgres.database(), "NAME": name}
        for path, text in {
            "manage.py": MANAGE,
            "site_settings.py": SETTINGS.format(database=database),
            "customers/models.py": CUSTOMERS,
            "shop/models.py": SHOP,
        }.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text)
        for label in ("customers", "shop"):
            (folder / label / "migrations").mkdir()
            (folder / label / "__init__.py").touch()
            (folder / label / "migrations/__init__.py").touch()

    def manage(self, *args: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "ignore", "manage.py", *args],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=code,
            capture_output=True,
            text=True,
        )

    def run(self, *args: str, code: str | None = None) -> str:
        done = self.manage(*args, code=code)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    pytest.importorskip("django_tenants")
    name = f"tenants_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(os.environ[postgres.VARIABLE], autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield Site(tmp_path, name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_recipe(site: Site) -> None:
    site.run("makemigrations", "customers", "shop")
    site.run("enable_vectors", "customers", "--schema", "public")
    site.run("migrate_schemas", "--shared")
    assert site.run("shell", "-v0", "-c", SEARCH).splitlines()[-2:] == [
        "['first: near'] ['second: near']",
        "['second: near']",
    ]
    asked = site.manage("check", "--database", "default")
    assert "dorm_vector.W002" not in asked.stderr


def test_an_extension_of_one_tenant_is_refused(site: Site) -> None:
    site.run("enable_vectors", "shop")
    site.run("makemigrations", "customers", "shop")
    site.run("migrate_schemas", "--shared")
    create = "from customers.models import Client\nClient.objects.create(schema_name='first')\n"
    done = site.manage("shell", "-v0", "-c", create)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "django.core.exceptions.ImproperlyConfigured: VectorExtension() would install the "
        "extension vector in the schema first of one tenant, where the others do not find it, and "
        "with which it would be dropped: write VectorExtension(schema='public')."
    )


def test_one_that_is_there_already(site: Site) -> None:
    site.run("makemigrations", "customers", "shop")
    site.run("enable_vectors", "customers", "--schema", "public")
    with psycopg.connect(os.environ[postgres.VARIABLE], autocommit=True, dbname=site.name) as admin:
        admin.execute("CREATE SCHEMA first")
        admin.execute("CREATE EXTENSION vector SCHEMA first")
    done = site.manage("migrate_schemas", "--shared")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "django.core.exceptions.ImproperlyConfigured: The extension vector is installed in the "
        "schema first, which is not on the search path (public), so that the type vector does not "
        "exist for this project. Move it to a schema that is on the search path of the database "
        "'default', by ALTER EXTENSION vector SET SCHEMA public, or add its schema there: "
        "PG_EXTRA_SEARCH_PATHS = ['first']."
    )
