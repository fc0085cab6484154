"""The pages of the app."""

from __future__ import annotations

from django.urls import path

from example_project.library import views

app_name = "library"

urlpatterns = [
    path("", views.search, name="search"),
    path("entry/<path:name>/", views.entry, name="entry"),
    path("like/<path:name>/", views.like, name="like"),
]
