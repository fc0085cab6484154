from __future__ import annotations

from tests.support import postgres

SECRET_KEY = "not a secret"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.postgres",
    "dorm_vector",
    "tests.testapp",
]

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "postgresql": postgres.database(),
    "libsql": {
        "ENGINE": "dorm_vector.backends.libsql",
        "NAME": ":memory:",
        # pytest-xdist would make a file's name of this one.
        "TEST": {"NAME": ":memory:"},
    },
}

DATABASE_ROUTERS = ["tests.support.routers.OnlyPostgreSQL"]

# The engines that the contract runs on, by the alias of their database.
ENGINES = {"default": "sqlite", "postgresql": "postgresql", "libsql": "libsql"}
