"""Packages beside which vector fields need nothing, each in a project of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from tests.support.paths import ROOT

ENGINES = {"sqlite": "default", "postgresql": "postgresql", "libsql": "libsql"}

# A project with one app, made of this module itself.
PROJECT = """
import json, sys, warnings
import types
import django
from django.apps import AppConfig
from django.conf import settings

sys.modules["shop"] = types.ModuleType("shop")

class Shop(AppConfig):
    name, path = "shop", "."

settings.configure(
    DATABASES={"default": json.loads(sys.argv[1])},
    INSTALLED_APPS=[
        "django.contrib.contenttypes", "django.contrib.auth", "django.contrib.messages",
        "django.contrib.sessions", "django.contrib.staticfiles", *APPS, "dorm_vector",
        "__main__.Shop",
    ],
    MIDDLEWARE=MIDDLEWARE,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    ROOT_URLCONF=__name__,
    STATIC_URL="static/",
    SECRET_KEY="a secret of tests",
    USE_TZ=True,
    DEBUG=True,
    INTERNAL_IPS=["127.0.0.1"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
from django.core.management import call_command
from django.db import connection
from django.test import Client
from dorm_vector import VectorExtension, VectorIndex, models, nearest

def create(*made):
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        VectorExtension().database_forwards("shop", editor, None, None)
        for model in made:
            editor.create_model(model)
"""


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest, tmp_path: Any) -> dict[str, Any]:
    """The settings of an empty database."""
    from django.db import connections

    if request.param == "postgresql":
        made = request.getfixturevalue("scratch")().settings_dict
    else:
        name = str(tmp_path / "db")
        made = {**connections[ENGINES[request.param]].settings_dict, "NAME": name}
    return {name: made[name] for name in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")}


def run(database: Any, source: str, apps: list[str], middleware: Any = ()) -> None:
    lists = f"APPS = {apps!r}\nMIDDLEWARE = {list(middleware)!r}\n"
    script = lists + PROJECT + textwrap.dedent(source) + "\nprint('done')\n"
    command = [sys.executable, "-c", script, json.dumps(database, default=str)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stderr[-2000:], done.returncode, done.stdout) == ("", 0, "done\n")


def test_simple_history(database: Any) -> None:
    source = """
    from simple_history.models import HistoricalRecords

    class Thing(models.Model):
        embedding = models.VectorField(3, null=True)
        history = HistoricalRecords(app="shop")
        class Meta:
            app_label = "shop"

    create(Thing, Thing.history.model)
    thing = Thing.objects.create(embedding=[0.1, 2, 3])
    thing.embedding = [4, 5, 6]
    thing.save()
    thing.embedding = None
    thing.save()
    found = [row.embedding for row in thing.history.order_by("history_id")]
    assert found == [[0.10000000149011612, 2.0, 3.0], [4.0, 5.0, 6.0], None], found
    new, old = thing.history.order_by("-history_id")[1:3]
    assert [change.field for change in new.diff_against(old).changes] == ["embedding"]
    near = nearest(Thing.history.model.objects.all(), "embedding", [4, 5, 6], metric="l2", k=1)
    assert near[0].distance == 0
    """
    run(database, source, ["simple_history"])


def test_reversion(database: Any) -> None:
    source = """
    import reversion

    @reversion.register()
    class Thing(models.Model):
        embedding = models.VectorField(3, null=True)
        bits = models.BitField(length=3, default="010")
        class Meta:
            app_label = "shop"

    create(Thing)
    with reversion.create_revision():
        thing = Thing.objects.create(embedding=[0.1, 2, 3])
    with reversion.create_revision():
        thing.embedding = [4, 5, 6]
        thing.save()
    versions = reversion.models.Version.objects.get_for_object(thing)
    versions[1].revision.revert()
    thing.refresh_from_db()
    assert thing.embedding == [0.10000000149011612, 2.0, 3.0], thing.embedding
    assert thing.bits == "010"
    """
    run(database, source, ["reversion"])


def test_polymorphic(database: Any) -> None:
    source = """
    from polymorphic.models import PolymorphicModel

    class Thing(PolymorphicModel):
        embedding = models.VectorField(3)
        class Meta:
            app_label = "shop"

    class Tool(Thing):
        weight = models.IntegerField(default=0)
        class Meta:
            app_label = "shop"

    create(Thing, Tool)
    rows = [Thing.objects.create(embedding=[1, 0, 0]), Tool.objects.create(embedding=[2, 0, 0])]
    found = list(nearest(Thing.objects.all(), "embedding", [3, 0, 0], metric="l2"))
    assert [(type(row), row.distance) for row in found] == [(Tool, 1), (Thing, 2)], found
    found = list(nearest(Tool.objects.all(), "embedding", rows[0], metric="l2"))
    assert [(type(row), row.pk) for row in found] == [(Tool, rows[1].pk)], found
    """
    run(database, source, ["polymorphic"])


def test_dirtyfields(database: Any) -> None:
    source = """
    from dirtyfields import DirtyFieldsMixin

    class Thing(DirtyFieldsMixin, models.Model):
        embedding = models.VectorField(3, null=True)
        array = models.VectorField(3, null=True, numpy=True)
        class Meta:
            app_label = "shop"

    create(Thing)
    thing = Thing.objects.create(embedding=[1, 2, 3], array=[1, 2, 3])
    thing = Thing.objects.get()
    assert not thing.is_dirty(), thing.get_dirty_fields()
    thing.array = [1, 2, 3]
    assert not thing.is_dirty(), thing.get_dirty_fields()
    thing.embedding = [1, 2, 4]
    assert thing.get_dirty_fields() == {"embedding": [1, 2, 3]}
    thing.save_dirty_fields()
    thing.refresh_from_db()
    assert thing.embedding == [1, 2, 4]
    """
    run(database, source, [])


def test_debug_toolbar(database: Any) -> None:
    source = """
    import re
    from django.http import HttpResponse
    from django.urls import include, path

    class Thing(models.Model):
        embedding = models.VectorField(300)
        class Meta:
            app_label = "shop"

    create(Thing)
    Thing.objects.create(embedding=[1] * 300)

    def view(request):
        list(nearest(Thing.objects.all(), "embedding", [0.123456] * 300, k=3))
        return HttpResponse("<body></body>")

    urlpatterns = [path("", view), path("__debug__/", include("debug_toolbar.urls"))]
    page = Client().get("/").content.decode()
    store = re.search(r'data-(?:store|request)-id="(\\w+)"', page)[1]
    sent = {"store_id": store, "request_id": store, "panel_id": "SQLPanel"}
    panel = Client().get("/__debug__/render_panel/", sent).json()["content"]
    assert "shop_thing" in panel, panel
    assert panel.count("0.123456") < 60, panel.count("0.123456")  # of 300 in each place
    """
    middleware = ["debug_toolbar.middleware.DebugToolbarMiddleware"]
    run(database, source, ["debug_toolbar"], middleware)
