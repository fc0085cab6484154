"""What can be asked of the search page; all of it stands in its URL."""

from __future__ import annotations

from typing import Any

from django import forms

from example_project.library.facets import Facets
from example_project.library.models import Entry
from example_project.library.search import LAST_PAGE, Mode

__all__ = ["PageForm", "SearchForm"]

MODES = [(Mode.BOTH, "both"), (Mode.MEANING, "meaning"), (Mode.WORDS, "words")]


class PageForm(forms.Form):
    """The number of a page of hits."""

    page = forms.IntegerField(
        min_value=1,
        max_value=LAST_PAGE,
        required=False,
        error_messages=dict.fromkeys(
            ("invalid", "min_value", "max_value"), f"Pages have numbers from 1 to {LAST_PAGE}."
        ),
    )

    @property
    def number(self) -> int:
        """The number that was asked for; 1 where there is none, or none that can be."""
        return (self.cleaned_data.get("page") if self.is_valid() else None) or 1


class SearchForm(PageForm):
    """A text, what counts of it, and where it is searched for."""

    q = forms.CharField(
        label="What are you looking for?",
        max_length=2000,
        required=False,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "compress a file"}),
    )
    mode = forms.ChoiceField(label="Search by", choices=MODES, widget=forms.RadioSelect)
    kind = forms.ChoiceField(
        label="Kind",
        choices=[("", "any kind"), *Entry.Kind.choices],
        required=False,
        error_messages={"invalid_choice": "There is no kind “%(value)s”."},
    )
    module = forms.CharField(
        label="Module",
        max_length=100,
        required=False,
        widget=forms.Select(choices=[("", "any module")]),
    )

    def __init__(self, data: Any = None) -> None:
        # Links need not say what most people want.
        super().__init__({"mode": Mode.BOTH, **(data or {})})

    def offer(self, facets: Facets) -> None:
        """Let kinds and modules be chosen from, each with how many entries it has."""
        self.fields["kind"].widget.choices = facets.kinds
        self.fields["module"].widget.choices = facets.modules
