from __future__ import annotations

import uuid
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import F, FloatField, GeneratedField, Value
from django.db.models.functions import Now

from dorm_vector import HnswIndex, IvfflatIndex, L2Distance, VectorIndex, models


class Item(models.Model):
    name = models.CharField(max_length=50, unique=True)
    category = models.IntegerField(default=0)
    embedding = models.VectorField(3, null=True, blank=True)
    other = models.VectorField(dimensions=3, null=True, blank=True)


class SubItem(Item):
    extra = models.VectorField(2)


class Document(models.Model):
    title = models.CharField(max_length=50)
    embedding = models.VectorField(3)


class Chunk(models.Model):
    document = models.ForeignKey(Document, models.CASCADE, related_name="chunks")
    embedding = models.VectorField(3, null=True)


def unit() -> list[float]:
    return [1.0, 0.0, 0.0]


class Defaults(models.Model):
    called = models.VectorField(3, default=unit)
    in_database = models.VectorField(3, db_default=[0.5, 0.25, 0.1])


class Unique(models.Model):
    embedding = models.VectorField(3, unique=True)
    note = models.CharField(max_length=50, default="")


class Generated(models.Model):
    embedding = models.VectorField(3)
    same = GeneratedField(
        expression=F("embedding"), output_field=models.VectorField(3), db_persist=True
    )
    distance = GeneratedField(
        expression=L2Distance("embedding", [1, 2, 3]), output_field=FloatField(), db_persist=True
    )


class Indexed(models.Model):
    category = models.IntegerField()
    embedding = models.VectorField(8, null=True)

    class Meta:
        indexes = [
            HnswIndex(fields=["embedding"], name="indexed_l2", metric="l2"),
            HnswIndex(
                fields=["embedding"],
                name="indexed_cosine",
                metric="cosine",
                m=8,
                ef_construction=32,
                condition=models.Q(category__lt=100),
            ),
            IvfflatIndex(fields=["embedding"], name="indexed_ip", metric="ip", lists=10),
        ]


class Portable(models.Model):
    category = models.IntegerField()
    embedding = models.VectorField(8, null=True)

    class Meta:
        indexes = [VectorIndex(fields=["embedding"], name="portable_embedding", metric="cosine")]


class Half(models.Model):
    a = models.HalfVectorField(3, null=True)
    b = models.HalfVectorField(dimensions=3, null=True)
    group = models.IntegerField(default=0)


class Bits(models.Model):
    a = models.BitField(length=10, null=True)
    b = models.BitField(length=10, null=True)
    group = models.IntegerField(default=0)


class Sparse(models.Model):
    """On PostgreSQL only; see ``tests.support.routers``."""

    a = models.SparseVectorField(5, null=True)
    b = models.SparseVectorField(dimensions=5, null=True)
    group = models.IntegerField(default=0)


class Full(models.Model):
    a = models.VectorField(3, null=True)
    b = models.VectorField(3, null=True)
    group = models.IntegerField(default=0)


class Numpy(models.Model):
    vector = models.VectorField(3, null=True, numpy=True)
    half = models.HalfVectorField(3, null=True, numpy=True)
    bits = models.BitField(length=10, null=True, numpy=True)


class Arrays(models.Model):
    """On PostgreSQL only."""

    vectors = ArrayField(models.VectorField(3), null=True)
    halves = ArrayField(models.HalfVectorField(3), null=True)
    bits = ArrayField(models.BitField(length=10), null=True)


class Owner(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50, default="")


class Colour(models.TextChoices):
    RED = "red", "Red"
    NONE = "", "None"


class Level(models.IntegerChoices):
    LOW = -1
    HIGH = 2


class Everything(models.Model):
    """A field of every type of Django's, and of vectors but the sparse ones."""

    small = models.SmallIntegerField(null=True)
    integer = models.IntegerField(null=True)
    big = models.BigIntegerField(null=True)
    positive_small = models.PositiveSmallIntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    positive_big = models.PositiveBigIntegerField(null=True)
    number = models.DecimalField(max_digits=30, decimal_places=8, null=True)
    cents = models.DecimalField(max_digits=5, decimal_places=2, null=True)
    real = models.FloatField(null=True)
    flag = models.BooleanField(null=True)
    char = models.CharField(max_length=50, null=True)
    text = models.TextField(null=True)
    slug = models.SlugField(null=True)
    email = models.EmailField(null=True)
    url = models.URLField(null=True)
    file = models.FileField(null=True)
    path = models.FilePathField(null=True)
    date = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    time = models.TimeField(null=True)
    duration = models.DurationField(null=True)
    key = models.UUIDField(null=True)
    binary = models.BinaryField(null=True)
    json = models.JSONField(null=True)
    rich = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    address = models.GenericIPAddressField(null=True)
    address4 = models.GenericIPAddressField(protocol="ipv4", null=True)
    colour = models.CharField(max_length=5, choices=Colour, null=True)
    level = models.SmallIntegerField(choices=Level, null=True)
    owner = models.ForeignKey(Owner, models.CASCADE, null=True)
    named = models.ForeignKey(Item, models.CASCADE, null=True, to_field="name", related_name="+")
    item = models.OneToOneField(Item, models.CASCADE, null=True)
    vector = models.VectorField(3, null=True)
    half = models.HalfVectorField(3, null=True)
    bits = models.BitField(length=10, null=True)

    class Meta:
        # Or else Django's checks would open a connection to find out.
        required_db_features = {"supports_json_field"}


def next_number() -> int:
    return 42


class Stamped(models.Model):
    """What the field or the database fills in."""

    called = models.IntegerField(default=next_number)
    given = models.IntegerField(db_default=Value(7))
    now = models.DateTimeField(db_default=Now())
    created = models.DateTimeField(auto_now_add=True)
    changed = models.DateTimeField(auto_now=True)
    doubled = GeneratedField(
        expression=F("called") * 2, output_field=models.IntegerField(), db_persist=True
    )


class OnlyKey(models.Model):
    pass


class TextKey(models.Model):
    name = models.CharField(max_length=50, primary_key=True)
    parent = models.ForeignKey("self", models.CASCADE, null=True)


class Composite(models.Model):
    pk = models.CompositePrimaryKey("tenant", "number")
    tenant = models.IntegerField()
    number = models.IntegerField()
    note = models.CharField(max_length=50, default="")


class Odd(models.Model):
    name = models.CharField(max_length=50, db_column="Select", unique=True)
    vector = models.VectorField(3, db_column="the Vector", null=True)

    class Meta:
        db_table = "Order of Things"


class Ordered(models.Model):
    document = models.ForeignKey(Document, models.CASCADE)

    class Meta:
        order_with_respect_to = "document"


class UpperField(models.CharField):
    """Has the database change its values."""

    def get_placeholder(self, value: Any, compiler: Any, connection: Any) -> str:
        return "UPPER(%s)"

    def get_placeholder_sql(self, value: Any, compiler: Any, connection: Any) -> Any:
        return "UPPER(%s)", (value,)


class Shout(models.Model):
    text = UpperField(max_length=50)


class HalvingField(models.VectorField):
    """Prepares its values in a way of its own."""

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(value and [number / 2 for number in value])


class Halved(models.Model):
    vector = HalvingField(3)


class Passage(models.Model):
    document = models.ForeignKey(Document, models.CASCADE)
    embedding = models.VectorField(3, null=True)

    class Meta:
        indexes = [VectorIndex(fields=["embedding"], name="testapp_passage_embedding", metric="l2")]


class ItemProxy(Item):
    class Meta:
        proxy = True


class PassageProxy(Passage):
    class Meta:
        proxy = True


class AbstractPair(models.Model):
    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.pk}"


def pair_model(dimensions: int) -> type[AbstractPair]:
    """A model with two vectors, ``a`` and ``b``."""
    attributes = {
        "__module__": __name__,
        "a": models.VectorField(dimensions, null=True),
        "b": models.VectorField(dimensions, null=True),
    }
    return type(f"Pair{dimensions}", (AbstractPair,), attributes)


PAIRS = {dimensions: pair_model(dimensions) for dimensions in (1, 3, 256, 1536, 16_000)}
