from __future__ import annotations

import re
from pathlib import Path

project = "dorm_vector"
author = "The dorm_vector contributors"
copyright = "The dorm_vector contributors"  # noqa: A001
# Read, not imported: building the documentation needs no Django.
source = (Path(__file__).parent.parent / "dorm_vector" / "__init__.py").read_text()
release = version = re.search(r'__version__ = "(.+)"', source)[1]

exclude_patterns = ["_build"]
# Numbers that several pages need, by their names.
rst_epilog = (Path(__file__).parent / "facts.txt").read_text()
default_role = "any"
nitpicky = True
# Django's own, whose documentation is not at hand.
nitpick_ignore = [("py:exc", "FieldError")]
highlight_language = "python"

html_theme = "furo"
html_title = f"dorm_vector {release}"


def setup(app):
    # The texts of errors on the page "troubleshooting", each with an anchor of its own.
    app.add_object_type("message", "message", objname="message")
    app.add_object_type("foreign-message", "foreign-message", objname="message of a database")
