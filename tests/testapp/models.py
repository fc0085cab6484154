from __future__ import annotations

from django.db.models import F, FloatField, GeneratedField

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
