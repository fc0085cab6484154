"""Of a project that is checked by mypy and pyright, and never run."""

SECRET_KEY = "not a secret"
INSTALLED_APPS = ["dorm_vector", "shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
