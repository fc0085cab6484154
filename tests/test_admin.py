"""Vectors in Django's admin, in forms and in templates."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

import django
import numpy as np
import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.db import connection, connections
from django.template import Context, Template
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import clear_url_caches, reverse
from pgvector import SparseVector

from dorm_vector.admin import VectorAdmin, check_admin
from dorm_vector.display import brief
from dorm_vector.forms import ShortVectorInput, VectorField, VectorTextarea
from tests.support import urls
from tests.testapp.models import Chunk, Document, Everything, Item, Numpy, Portable

pytestmark = pytest.mark.django_db(databases="__all__")


class TestBrief:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ([0.01, -0.2] * 192, "[0.01, -0.2, ... 384]"),
            ([0.5, 1.0, -2.0], "[0.5, 1, -2]"),
            (np.array([0.01, -0.2] * 192, "f4"), "[0.01, -0.2, ... 384]"),
            (np.array([True, False, True]), "101"),
            (np.array([True, False] * 40), "1010101010101010... 80"),
            ("0110", "0110"),
            ("01" * 40, "0101010101010101... 80"),
            (SparseVector({1: 0.5, 7: 2.0, 9: 3.0}, 1000), "{2: 0.5, 8: 2, ... 1000}"),
            ([[1.0] * 10, [2.0] * 10], "[[1, 1, ... 10], [2, 2, ... 10]]"),
            ([], "[]"),
            (None, ""),
            (7, "7"),
        ],
    )
    def test_text(self, value: Any, text: str) -> None:
        assert brief(value) == text

    def test_filter(self) -> None:
        template = Template("{% load dorm_vector %}{{ row|vector }}")
        assert template.render(Context({"row": [0.25] * 9})) == "[0.25, 0.25, ... 9]"


class TestTyped:
    """What people type, and paste."""

    @pytest.mark.parametrize(
        "text",
        ["[1,2.5,-3]", "1,2.5,-3", "1 2.5 -3", " 1;2.5; -3 ", "1\n2.5\r\n-3\n", "1\t2.5\t-3",
         "[ 1.  2.5 -3. ]", "[1, 2.5, -3]", "1e0, 2.5, -30e-1"],
    )  # fmt: skip
    def test_separators(self, text: str) -> None:
        assert VectorField(dimensions=3).clean(text) == [1.0, 2.5, -3.0]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1,,2", "Component 1 is '', not a number."),
            ("1, 2, x", "Component 2 is 'x', not a number."),
            ("1 2", "Expected 3 dimensions, not 2."),
            ("1 2 3 4", "Expected 3 dimensions, not 4."),
            ("1,nan,3", "Component 1 is NaN."),
            ("1_0,2,3", "'1_0,2,3' is not a vector."),
            ("[[1,2,3]]", "'[[1,2,3]]' is not a vector."),
            ("1;2;inf", "Component 2 is infinite."),
        ],
    )
    def test_errors(self, text: str, message: str) -> None:
        with pytest.raises(ValidationError) as caught:
            VectorField(dimensions=3).clean(text)
        assert caught.value.messages == [message]

    def test_bits_with_spaces(self) -> None:
        assert VectorField(dimensions=8, kind="bit").clean(" 0110 \n1001 ") == "01101001"

    def test_help_text(self) -> None:
        assert VectorField(dimensions=1536).help_text == (
            "1,536 numbers, with commas, spaces or line breaks between them: [0.1, -2, ...]"
        )
        assert VectorField(dimensions=10, kind="bit").help_text == "10 bits: 0110..."
        assert VectorField(dimensions=3, help_text="Mine.").help_text == "Mine."


class TestWidgets:
    def test_small(self) -> None:
        field = VectorField(dimensions=3)
        assert type(field.widget) is ShortVectorInput
        assert 'value="[1,2,3]"' in field.widget.render("v", "[1,2,3]")
        assert type(VectorField(dimensions=64, kind="bit").widget) is ShortVectorInput

    def test_long_vectors_are_folded(self) -> None:
        field = VectorField(dimensions=100)
        text = field.widget.render("v", field.prepare_value([3.0, 4.0] + [0.0] * 98))
        assert "<details" in text
        assert "<summary>100 numbers, length 5</summary>" in text
        assert "[3, 4, 0, 0" in text
        assert " open" not in text

    def test_what_is_refused_is_unfolded(self) -> None:
        field = VectorField(dimensions=100)
        assert "<details" not in field.widget.render("v", "1, 2, x")
        assert "<details" not in field.widget.render("v", None)

    def test_bits(self) -> None:
        field = VectorField(dimensions=80, kind="bit")
        assert "<summary>80 bits, 20 of them 1</summary>" in field.widget.render("v", "0001" * 20)

    def test_huge_numbers_have_a_length(self) -> None:
        field = VectorField(dimensions=9)
        assert "length 9e+38" in field.widget.render("v", str([3e38] * 9))

    def test_a_widget_of_the_project(self) -> None:
        widget = VectorTextarea({"rows": 2})
        assert 'rows="2"' in VectorField(dimensions=3, widget=widget).widget.render("v", "1,2,3")

    def test_unchanged(self) -> None:
        field = VectorField(dimensions=20)
        value = np.random.default_rng(1).normal(size=20).astype("f4").tolist()
        shown = field.widget.render("v", field.prepare_value(value))
        sent = re.sub(r".*<textarea[^>]*>\n(.*)</textarea>.*", r"\1", shown, flags=re.DOTALL)
        assert not field.has_changed(value, sent)
        assert field.has_changed([*value[:-1], value[-1] + 1e-6], sent)


def embed(text: str) -> list[float]:
    return [float(len(text))] + [1.0] * 7


def there(alias: str) -> Any:
    """The rows of another database, as an admin's get_queryset()."""

    def get_queryset(self: Any, request: Any) -> Any:
        return self.model._default_manager.using(alias).order_by("pk")

    return get_queryset


def reload_urls() -> None:
    importlib.reload(urls)
    clear_url_caches()


@pytest.fixture
def register() -> Iterator[Any]:
    """A function that registers an admin for the time of a test."""
    made = []

    def add(model: Any, **attributes: Any) -> Any:
        bases = attributes.pop("bases", (VectorAdmin, admin.ModelAdmin))
        cls = type("SomeAdmin", bases, attributes)
        admin.site.register(model, cls)
        made.append(model)
        reload_urls()
        return admin.site.get_model_admin(model)

    yield add
    for model in made:
        admin.site.unregister(model)
    reload_urls()


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def rows() -> list[Any]:
    """Three that are near each other, one far away, and one without a vector."""
    firsts = [0.0, 0.01, 0.02, 9.0]
    made = [Portable(category=i, embedding=[x] + [1.0] * 7) for i, x in enumerate(firsts)]
    return Portable.objects.bulk_create([*made, Portable(category=4)])


def page(client: Client, name: str, *args: Any, **query: Any) -> str:
    response = client.get(reverse(f"admin:testapp_{name}", args=args), query)
    assert response.status_code == 200
    return response.content.decode()


class TestLists:
    def test_short(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, list_display=["category", "embedding"], list_display_links=["embedding"])
        text = page(client, "portable_changelist")
        assert ">[9, 1, ... 8]</a>" in text
        assert "1.0, 1.0" not in text

    def test_size(self, register: Any, client: Client) -> None:
        register(Everything, list_display=["vector", "half", "bits"])
        Everything.objects.create(vector=[0.1, 2, 3], half=[1, 2, 3], bits="1" * 10)
        text = page(client, "everything_changelist")
        assert "[0.1, 2, 3]" in text
        assert "1111111111" in text

    def test_a_page_of_a_hundred(self, register: Any, client: Client) -> None:
        """Its size goes by the rows alone, however long the vectors are."""
        vectors = np.random.default_rng(3).normal(size=(100, 8)).astype("f4").tolist()
        Portable.objects.bulk_create(Portable(category=1, embedding=v) for v in vectors)
        register(Portable, list_display=["category", "embedding"])
        text = page(client, "portable_changelist")
        assert text.count(", ... 8]") == 100
        assert len(text) < 60_000

    @pytest.mark.parametrize("alias", settings.ENGINES)
    def test_vectors_are_not_read_for_a_list(
        self, register: Any, client: Client, alias: str
    ) -> None:
        Portable.objects.using(alias).bulk_create(
            Portable(category=number, embedding=[float(number)] * 8) for number in range(100)
        )
        register(Portable, list_display=["pk", "category"], get_queryset=there(alias))
        with CaptureQueriesContext(connections[alias]) as queries:
            assert page(client, "portable_changelist").count("field-category") == 100
        asked = [query["sql"] for query in queries if "testapp_portable" in query["sql"]]
        assert len(asked) == 3  # two of them count
        assert "embedding" not in " ".join(asked)

    def test_vectors_that_are_shown_are_read(
        self, register: Any, client: Client, rows: Any
    ) -> None:
        register(Portable, list_display=["category", "embedding"])
        with CaptureQueriesContext(connection) as queries:
            assert "[9, 1, ... 8]" in page(client, "portable_changelist")
        assert sum("testapp_portable" in query["sql"] for query in queries) == 3

    def test_methods_may_read_vectors(self, register: Any, client: Client, rows: Any) -> None:
        """Without a query for each row."""

        def length(self: Any, row: Any) -> int:
            return -1 if row.embedding is None else len(row.embedding)

        register(Portable, list_display=["category", "length"], length=length)
        with CaptureQueriesContext(connection) as queries:
            assert page(client, "portable_changelist").count('"field-length">8<') == 4
        asked = sum("testapp_portable" in query["sql"] for query in queries)
        assert asked == (4 if django.VERSION >= (6, 1) else 3)

    def test_actions_get_whole_rows(self, register: Any, client: Client, rows: Any) -> None:
        deferred = []

        def look(modeladmin: Any, request: Any, queryset: Any) -> None:
            deferred.extend(row.get_deferred_fields() for row in queryset)

        register(Portable, list_display=["category"], actions=[look])
        keys = list(Portable.objects.values_list("pk", flat=True))
        client.post(
            reverse("admin:testapp_portable_changelist"),
            {"action": "look", "_selected_action": keys},
        )
        assert deferred == [set()] * 5

    def test_a_list_of_the_projects_own(self, register: Any, client: Client, rows: Any) -> None:
        class Reversed(ChangeList):
            def get_results(self, request: Any) -> None:
                super().get_results(request)
                self.result_list = list(self.result_list)[::-1]

        def get_changelist(self: Any, request: Any, **kwargs: Any) -> Any:
            return Reversed

        base = type("Base", (admin.ModelAdmin,), {"get_changelist": get_changelist})
        register(Portable, list_display=["category"], bases=(VectorAdmin, base))
        text = page(client, "portable_changelist")
        assert re.findall(r">(\d)</a>", text) == ["0", "1", "2", "3", "4"]

    def test_arrays(self, register: Any, client: Client) -> None:
        register(Numpy, list_display=["vector"])
        Numpy.objects.create(vector=[1, 2, 3])
        assert "[1, 2, 3]" in page(client, "numpy_changelist")

    def test_null(self, register: Any, client: Client) -> None:
        register(Chunk, list_display=["embedding"], list_display_links=None)
        document = Document.objects.create(title="a", embedding=[1, 2, 3])
        Chunk.objects.create(document=document)
        assert '<td class="field-embedding">' in page(client, "chunk_changelist")


class TestChangePages:
    def test_readonly(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, readonly_fields=["embedding"], fields=["category", "embedding"])
        text = page(client, "portable_change", rows[3].pk)
        assert '<div class="readonly">[9, 1, ... 8]</div>' in text
        assert "<textarea" not in text

    def test_readonly_in_fieldsets(self, register: Any, client: Client, rows: Any) -> None:
        fieldsets = [("One", {"fields": [("category", "embedding")]})]
        register(Portable, readonly_fields=["embedding"], fieldsets=fieldsets)
        assert "[9, 1, ... 8]" in page(client, "portable_change", rows[3].pk)

    def test_readonly_without_fields(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, readonly_fields=["embedding"])
        assert "[9, 1, ... 8]" in page(client, "portable_change", rows[3].pk)
        assert "Nearest rows" not in page(client, "portable_add")

    def test_who_may_only_view(self, register: Any, rows: Any) -> None:
        register(Portable)
        user = User.objects.create_user("viewer", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_portable"))
        client = Client()
        client.force_login(user)
        text = page(client, "portable_change", rows[3].pk)
        assert '<div class="readonly">[9, 1, ... 8]</div>' in text

    def test_saving(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable)
        url = reverse("admin:testapp_portable_change", args=[rows[0].pk])
        sent = {"category": 7, "embedding": "1 2 3 4 5 6 7 8"}
        assert client.post(url, sent).status_code == 302
        assert Portable.objects.get(pk=rows[0].pk).embedding == [1, 2, 3, 4, 5, 6, 7, 8]

    def test_a_bad_vector(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable)
        url = reverse("admin:testapp_portable_change", args=[rows[0].pk])
        response = client.post(url, {"category": 7, "embedding": "1 2 3 4 5 6 7 eight"})
        assert "Component 7 is &#x27;eight&#x27;, not a number." in response.content.decode()
        assert Portable.objects.get(pk=rows[0].pk).category == 0

    def test_nothing_changed(self, register: Any, rf: Any, rows: Any) -> None:
        model_admin, request = register(Portable), rf.get("/")
        request.user = User(is_superuser=True, is_active=True)
        rows[0].refresh_from_db()
        form_class = model_admin.get_form(request, rows[0])
        sent = {"category": "0", "embedding": form_class(instance=rows[0])["embedding"].value()}
        again = form_class(sent, instance=rows[0])
        assert (again.is_valid(), again.changed_data) == (True, [])

    def test_inline(self, register: Any, client: Client) -> None:
        inline = type("Chunks", (VectorAdmin, admin.TabularInline),
                      {"model": Chunk, "readonly_fields": ["embedding"], "extra": 0})  # fmt: skip
        register(Document, inlines=[inline])
        document = Document.objects.create(title="a", embedding=[1, 2, 3])
        Chunk.objects.create(document=document, embedding=[4, 5, 6])
        assert "[4, 5, 6]" in page(client, "document_change", document.pk)


class TestNearestRows:
    def test_panel(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, vector_nearest=2)
        text = page(client, "portable_change", rows[0].pk)
        links = re.findall(r'/portable/(\d+)/change/">[^<]*</a></td><td>([\d.]+)</td>', text)
        vectors = np.array([row.embedding for row in rows[:4]])
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        expected = 1 - unit @ unit[0]
        nearest = np.argsort(expected)[1:3]
        assert [int(pk) for pk, _ in links] == [rows[i].pk for i in nearest]
        assert [float(d) for _, d in links] == pytest.approx(expected[nearest], abs=1e-4)

    def test_everything_is_escaped(
        self, register: Any, client: Client, rows: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        evil = '<img src=x onerror="alert(1)">'
        monkeypatch.setattr(Portable, "__str__", lambda self: evil)
        monkeypatch.setattr(Portable._meta.get_field("embedding"), "verbose_name", evil)
        register(Portable)
        pages = [page(client, "portable_change", rows[0].pk), page(client, "portable_changelist")]
        action = {"action": "find_near_duplicates", "_selected_action": [rows[0].pk]}
        found = client.post(reverse("admin:testapp_portable_changelist"), action)
        pages.append(found.content.decode())
        assert all("&lt;img src=x onerror=" in text for text in pages)
        assert not any(evil in text for text in pages)

    def test_without_a_vector(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable)
        assert '<div class="readonly">None.</div>' in page(client, "portable_change", rows[4].pk)

    def test_switched_off(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, vector_nearest=0)
        assert "Nearest rows" not in page(client, "portable_change", rows[0].pk)

    def test_only_what_the_user_may_see(self, register: Any, client: Client, rows: Any) -> None:
        def some(self: Any, request: Any) -> Any:
            return admin.ModelAdmin.get_queryset(self, request).filter(category__in=[0, 2])

        register(Portable, get_queryset=some)
        text = page(client, "portable_change", rows[0].pk)
        assert f"/portable/{rows[2].pk}/change/" in text
        assert f"/portable/{rows[1].pk}/change/" not in text

    @pytest.mark.parametrize("alias", ["postgresql", "libsql"])
    def test_other_databases(self, register: Any, client: Client, alias: str) -> None:
        made = [Portable(category=i, embedding=[i] + [1.0] * 7) for i in range(3)]
        rows = Portable.objects.using(alias).bulk_create(made)

        def there(self: Any, request: Any) -> Any:
            return Portable.objects.using(alias)

        register(Portable, get_queryset=there, list_display=["embedding"])
        assert "[2, 1, ... 8]" in page(client, "portable_changelist")
        text = page(client, "portable_change", rows[0].pk)
        assert re.findall(r"/portable/(\d+)/change/\">", text) == [str(rows[1].pk), str(rows[2].pk)]


class TestSimilaritySearch:
    def found(self, text: str) -> list[str]:
        return re.findall(r'<td class="field-distance[^>]*>([\d.]+)</td>', text)

    def test_nearest_first(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, vector_search_embedder=embed, list_display=["category"])
        text = page(client, "portable_changelist", q="nine chrs")
        order = re.findall(r"/portable/(\d+)/change/\?", text)
        vectors = np.array([row.embedding for row in rows[:4]])
        query = np.array(embed("nine chrs"))
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        expected = 1 - vectors @ query / norms
        assert [int(pk) for pk in order] == [rows[i].pk for i in np.argsort(expected)]
        assert [float(d) for d in self.found(text)] == pytest.approx(sorted(expected), abs=1e-4)

    def test_a_method(self, register: Any, client: Client, rows: Any) -> None:
        def method(self: Any, text: str) -> list[float]:
            return embed(text)

        register(Portable, vector_search_embedder=method)
        assert len(self.found(page(client, "portable_changelist", q="x"))) == 4

    def test_a_text_with_nul(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, vector_search_embedder=embed)
        text = page(client, "portable_changelist", q="\0")
        assert "Null characters are not allowed." in text
        assert self.found(text) == []

    def test_words_or_similarity(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, vector_search_embedder=embed, search_fields=["category"])
        text = page(client, "portable_changelist", q="3")
        assert (self.found(text), "1 result" in text) == ([], True)
        assert "?by=similarity&amp;q=3" in text or "?q=3&amp;by=similarity" in text
        text = page(client, "portable_changelist", q="3", by="similarity")
        assert len(self.found(text)) == 4

    def test_a_column_orders(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, vector_search_embedder=embed, list_display=["category"])
        text = page(client, "portable_changelist", q="x", o="-1")
        order = re.findall(r"/portable/(\d+)/change/\?", text)
        assert [int(pk) for pk in order] == [row.pk for row in reversed(rows[:4])]

    def test_pages(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, vector_search_embedder=embed, list_per_page=2)
        first = page(client, "portable_changelist", q="x")
        second = page(client, "portable_changelist", q="x", p="2")
        assert len(self.found(first)) == len(self.found(second)) == 2
        assert self.found(first)[1] <= self.found(second)[0]

    def test_a_bad_embedder(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, vector_search_embedder=lambda text: [1.0, 2.0])
        text = page(client, "portable_changelist", q="x")
        assert (
            "The embedder&#x27;s vector of this text was refused: Expected 8 dimensions, not 2."
            in text
        )
        assert "0 results" in text


class TestNearDuplicates:
    def test_pairs(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, vector_duplicate_distance=1e-4)
        url = reverse("admin:testapp_portable_changelist")
        chosen = [row.pk for row in rows]
        sent = {"action": "find_near_duplicates", "_selected_action": chosen}
        text = client.post(url, sent).content.decode()
        pairs = re.findall(r'<tr><td><a href="[^"]*/(\d+)/change/">[^<]*</a></td>'
                           r'<td><a href="[^"]*/(\d+)/change/">', text)  # fmt: skip
        assert {frozenset(map(int, pair)) for pair in pairs} == {
            frozenset((rows[0].pk, rows[1].pk)),
            frozenset((rows[0].pk, rows[2].pk)),
            frozenset((rows[1].pk, rows[2].pk)),
        }
        assert len(pairs) == 3
        assert "There are more" not in text

    def test_more_than_a_page_lists(
        self, register: Any, client: Client, rows: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dorm_vector.admin.MOST_PAIRS", 2)
        register(Portable, vector_duplicate_distance=1e-4)
        chosen = [row.pk for row in rows]
        sent = {"action": "find_near_duplicates", "_selected_action": chosen}
        text = client.post(reverse("admin:testapp_portable_changelist"), sent).content.decode()
        assert text.count('<tr><td><a href="') == 2
        assert "There are more than these 2: select fewer rows." in text

    def test_none(self, register: Any, client: Client, rows: Any) -> None:
        register(Portable, vector_duplicate_distance=1e-4)
        url = reverse("admin:testapp_portable_changelist")
        sent = {"action": "find_near_duplicates", "_selected_action": [rows[3].pk]}
        assert "<p>None.</p>" in client.post(url, sent).content.decode()

    def test_not_where_actions_are_switched_off(self, register: Any, rf: Any) -> None:
        model_admin = register(Portable, actions=None)
        request = rf.get("/")
        request.user = User(is_superuser=True, is_active=True)
        assert model_admin.get_actions(request) == {}


class TestCheck:
    def test_a_plain_admin(self, register: Any) -> None:
        register(Item, bases=(admin.ModelAdmin,), list_display=["name", "embedding"])
        (found,) = check_admin()
        assert (found.id, found.msg, found.hint) == (
            "dorm_vector.W110",
            "SomeAdmin shows every number of the vector 'embedding' in list_display.",
            "Inherit from dorm_vector.admin.VectorAdmin first: it abbreviates vectors.",
        )

    def test_readonly(self, register: Any) -> None:
        register(Item, bases=(admin.ModelAdmin,), readonly_fields=["embedding"])
        (found,) = check_admin()
        assert found.msg.endswith("'embedding' in readonly_fields.")

    def test_vector_admin(self, register: Any) -> None:
        register(Item, list_display=["name", "embedding"], readonly_fields=["embedding"])
        assert check_admin() == []

    def test_without_vectors(self, register: Any) -> None:
        register(Item, bases=(admin.ModelAdmin,), list_display=["name"])
        assert check_admin() == []
