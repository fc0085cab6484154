"""Models of texts, for the tests of searches for words."""

from __future__ import annotations

from dorm_vector import TextIndex, VectorQuerySet, models


class Article(models.Model):
    """Texts, and a vector."""

    title = models.CharField(max_length=100)
    body = models.TextField(null=True, db_column="the body")
    note = models.TextField(default="")
    category = models.IntegerField(default=0)
    embedding = models.VectorField(3, null=True)
    objects = VectorQuerySet.as_manager()

    class Meta:
        indexes = [
            TextIndex(
                fields=["title", "body"],
                name="textapp_article_text",
                weights={"title": "A", "body": "B"},
            )
        ]


class ArticleProxy(Article):
    class Meta:
        proxy = True


class Report(Article):
    """Has its texts in the table of another model."""

    summary = models.TextField(default="")


class Comment(models.Model):
    article = models.ForeignKey(Article, models.CASCADE, related_name="comments")
    text = models.TextField()

    class Meta:
        indexes = [
            TextIndex(fields=["text"], name="textapp_comment_text", language="simple"),
        ]


class Page(models.Model):
    """Has a key that is no number."""

    slug = models.CharField(max_length=20, primary_key=True)
    text = models.TextField()

    class Meta:
        indexes = [TextIndex(fields=["text"], name="textapp_page_text")]


class Section(models.Model):
    """Has a key of two columns."""

    pk = models.CompositePrimaryKey("tenant", "number")
    tenant = models.IntegerField()
    number = models.IntegerField()
    text = models.TextField()

    class Meta:
        indexes = [TextIndex(fields=["text"], name="textapp_section_text")]


class Memo(models.Model):
    """Has no index of its words."""

    text = models.TextField()
    number = models.IntegerField(default=0)


class Product(models.Model):
    """Is found by parts of its words."""

    name = models.CharField(max_length=50)
    text = models.TextField(null=True)

    class Meta:
        indexes = [
            TextIndex(
                fields=["name", "text"],
                name="textapp_product_parts",
                tokenize="trigram",
                weights={"name": "A"},
            )
        ]
