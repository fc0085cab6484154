"""A test runner for Django's own suite, which writes down what became of each test."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.apps import apps
from django.test.runner import DiscoverRunner

__all__ = ["VARIABLE", "Runner"]

# The file that the outcomes go to.
VARIABLE = "DORM_VECTOR_TEST_OUTCOMES"


class Runner(DiscoverRunner):
    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        result = super().run_suite(suite, **kwargs)
        found = {"installed": apps.is_installed("dorm_vector"), **outcomes(result)}
        Path(os.environ[VARIABLE]).write_text(json.dumps(found))
        return result


def outcomes(result: Any) -> dict[str, Any]:
    """How many tests ran, and those that did not simply pass, by what became of them."""
    return {
        "ran": result.testsRun,
        "failure": {str(test): text for test, text in result.failures},
        "error": {str(test): text for test, text in result.errors},
        "skipped": {str(test): reason for test, reason in result.skipped},
        "expected failure": {str(test): "" for test, _ in result.expectedFailures},
        "unexpected success": {str(test): "" for test in result.unexpectedSuccesses},
    }
