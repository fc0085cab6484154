"""Searches: what comes back, and the keywords by name."""

from __future__ import annotations

from typing import Any, TypeVar, assert_type

import numpy as np
from django.db.models import Model, OuterRef, QuerySet

from dorm_vector import (
    CosineDistance,
    VectorQuerySet,
    bulk_copy,
    fuse,
    hybrid,
    nearest,
    search_params,
)
from shop.models import Brand, Product, ProductQuerySet

Q = TypeVar("Q", bound=QuerySet[Any, Any])


def querysets(products: ProductQuerySet, searched: VectorQuerySet[Brand]) -> None:
    assert_type(nearest(Brand.objects.all(), "embedding", [1, 2, 3]), QuerySet[Brand, Brand])
    assert_type(nearest(Brand.objects, "embedding", [1, 2, 3], k=3), QuerySet[Brand, Brand])
    assert_type(nearest(Brand, "embedding", [1, 2, 3], k=3), QuerySet[Brand, Brand])
    assert_type(nearest(Brand.objects.filter(name="x")[:3], "embedding", "[1]").get(), Brand)
    assert_type(nearest(products, "vector", [1, 2, 3], metric="l2"), ProductQuerySet)
    assert_type(nearest(products.cheap(), "vector", [1, 2, 3]).cheap(), ProductQuerySet)
    assert_type(products.nearest("vector", [1, 2, 3], exact=True), ProductQuerySet)
    assert_type(products.nearest("vector", [1, 2, 3]).cheap(), ProductQuerySet)
    assert_type(searched.nearest("embedding", [1, 2, 3], k=3), VectorQuerySet[Brand, Brand])
    brand = Brand()
    # Only mypy's plugin knows of relations that other models declare.
    nearest(brand.products.all(), "vector", [1])  # refused: - / reportAttributeAccessIssue
    for found in nearest(Brand.objects.all(), "embedding", brand, max_distance=0.5):
        assert_type(found, Brand)


def rows(products: QuerySet[Product], searched: VectorQuerySet[Brand]) -> None:
    dicts = nearest(products.values("id", "price"), "vector", [1, 2, 3])
    assert_type(dicts.model, type[Product])
    for row in dicts:
        row["price"]
        row.price  # refused: attr-defined / reportAttributeAccessIssue
    names = nearest(Brand.objects.values_list("name", flat=True), "embedding", [1, 2, 3])
    for name in names:
        name.upper()
    for brand in searched.nearest("embedding", [1, 2, 3]).values("name"):
        brand["name"]


def generic(queryset: Q) -> Q:
    return nearest(queryset, "embedding", [1, 2, 3], k=10)


def queries(brand: Brand) -> None:
    nearest(Brand, "embedding", np.zeros(3))
    nearest(Brand, "embedding", None)
    nearest(Brand, "embedding", "[1,2,3]")
    nearest(Brand, "products__bits", [True, False, True])
    nearest(Brand, "products__sparse", {0: 1.5})
    nearest(Brand, "embedding", OuterRef("vector"))
    nearest(Brand, "embedding", brand)
    nearest(Brand, "embedding", Product.objects.values("vector")[:1])
    nearest(Brand, "at", 3)  # refused: call-overload / reportArgumentType, reportCallIssue
    nearest(Brand, "at", ["a"])  # refused: list-item / reportArgumentType, reportCallIssue


def together(products: ProductQuerySet, brands: QuerySet[Brand]) -> None:
    assert_type(hybrid(products, "vector", [1, 2, 3], "text").cheap(), ProductQuerySet)
    assert_type(hybrid(Brand, "embedding", None, None, candidates=9), QuerySet[Brand, Brand])
    assert_type(products.hybrid("vector", [1, 2, 3], "text", weights=(1, 2)), ProductQuerySet)
    near = nearest(products, "vector", [1, 2, 3], k=9)
    assert_type(fuse(near, products.order_by("price")[:9], k=10), ProductQuerySet)
    assert_type(fuse(brands[:3], brands[:3]), QuerySet[Brand, Brand])
    hybrid(brands, "embedding", [1], "text", rerank=lambda found, text: [len(found)])
    hybrid(brands, "embedding", [1], "text", rank=3)  # refused: call-overload / reportCallIssue
    fuse(near, weights="1")  # refused: arg-type / reportArgumentType


def keywords(products: ProductQuerySet, brands: QuerySet[Brand]) -> None:
    nearest(brands, "embedding", [1], ef_search=100, probes=10, iterative_scan="strict_order")
    nearest(brands, "embedding", [1], max_scan_tuples=9, scan_mem_multiplier=1.5, oversample=4)
    nearest(brands, "embedding", [1], annotation="far")
    nearest(brands, "embedding", [1], metrc="l2")  # refused: call-overload / reportCallIssue
    nearest(brands, "at", [], k="3")  # refused: call-overload / reportArgumentType, reportCallIssue
    nearest(brands, "embedding")  # refused: call-overload / reportCallIssue
    nearest(brands, "embedding", [1], 10)  # refused: call-overload / reportCallIssue
    nearest(3, "at", [1])  # refused: call-overload / reportArgumentType, reportCallIssue
    nearest(Model(), "at", [1])  # refused: call-overload / reportArgumentType, reportCallIssue
    products.nearest("vector", [1], metrc="l2")  # refused: call-arg / reportCallIssue
    products.nearest("vector", [1], k="3")  # refused: arg-type / reportArgumentType
    products.bulk_copy([Product()], batch_size=1000, rebuild_indexes=True)
    products.bulk_copy([Product()], batchsize=1)  # refused: call-arg / reportCallIssue
    products.bulk_copy([Brand()])  # refused: list-item / reportArgumentType
    bulk_copy(Brand, [Brand()], ignore_conflicts=True)
    bulk_copy(brands, [Brand()], batchsize=1)  # refused: call-arg / reportCallIssue
    with search_params(ef_search=100):
        brands.annotate(far=CosineDistance("embedding", [1, 2, 3])).order_by("far")
    search_params(ef_serch=100)  # refused: call-arg / reportCallIssue
