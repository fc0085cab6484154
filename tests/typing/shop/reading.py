"""What the fields read, and what they may be set to."""

from __future__ import annotations

from array import array
from decimal import Decimal
from typing import assert_type

import numpy as np
from django.db.models import F
from numpy.typing import NDArray
from pgvector import Bit, HalfVector, SparseVector, Vector

from dorm_vector import Normalize
from shop.models import Page, Product

Float32 = NDArray[np.float32]
Float16 = NDArray[np.float16]
Bools = NDArray[np.bool_]


def reads(product: Product, page: Page) -> None:
    assert_type(product.vector, list[float])
    assert_type(product.vector_or_none, list[float] | None)
    assert_type(product.named, list[float])
    assert_type(product.array, Float32)
    assert_type(product.array_or_none, Float32 | None)
    assert_type(product.half, list[float])
    assert_type(product.half_or_none, list[float] | None)
    assert_type(product.half_array, Float16)
    assert_type(product.half_array_or_none, Float16 | None)
    assert_type(product.bits, str)
    assert_type(product.bits_or_none, str | None)
    assert_type(product.bits_array, Bools)
    assert_type(product.bits_array_or_none, Bools | None)
    assert_type(product.sparse, SparseVector)
    assert_type(product.sparse_or_none, SparseVector | None)
    assert_type(product.sparse_array, Float32)
    assert_type(product.sparse_array_or_none, Float32 | None)
    assert_type(page.embedding, list[float])
    product.vector_or_none[0]  # refused: index / reportOptionalSubscript


def is_set(product: Product, page: Page) -> None:
    product.vector = [1, 2.5, Decimal(3)]
    product.vector = (1, 2, 3)
    product.vector = range(3)
    product.vector = array("f", [1, 2, 3])
    product.vector = np.zeros(3)
    product.vector = np.array([1, 2, 3], np.float16)
    product.vector = "[1,2,3]"
    product.vector = bytes(12)
    product.vector = memoryview(bytes(12))
    product.vector = Vector([1, 2, 3])
    product.vector = HalfVector([1, 2, 3])
    product.vector = SparseVector([1, 2, 3])
    product.vector = (number / 2 for number in range(3))
    product.vector = F("half")
    product.vector = Normalize("vector")
    product.vector = Product().half
    product.array = [1, 2, 3]
    product.vector_or_none = None
    product.bits = "101"
    product.bits = [True, False, True]
    product.bits = np.array([True, False, True])
    product.bits = Bit("101")
    product.bits = b"\xa0"
    product.bits_or_none = None
    product.sparse = SparseVector({0: 1.5}, 3)
    product.sparse = {0: 1.5}
    product.sparse = [1, 0, 0]
    product.sparse = "{1:1.5}/3"
    product.sparse_or_none = None
    page.embedding = [1, 2, 3]


def is_refused(product: Product, page: Page) -> None:
    product.vector = 3  # refused: assignment / reportAttributeAccessIssue
    product.vector = None  # refused: assignment / reportAttributeAccessIssue
    product.vector = ["1", "2"]  # refused: list-item / reportAttributeAccessIssue
    product.vector = [[1, 2]]  # refused: list-item / reportAttributeAccessIssue
    product.half = None  # refused: assignment / reportAttributeAccessIssue
    product.array = None  # refused: assignment / reportAttributeAccessIssue
    product.bits = None  # refused: assignment / reportAttributeAccessIssue
    product.bits = 5  # refused: assignment / reportAttributeAccessIssue
    product.bits = [0.5, 1.5]  # refused: list-item / reportAttributeAccessIssue
    product.sparse = {"a": 1.5}  # refused: dict-item / reportAttributeAccessIssue
    product.sparse = None  # refused: assignment / reportAttributeAccessIssue
    page.embedding = 3  # refused: assignment / reportAttributeAccessIssue
