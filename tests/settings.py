from __future__ import annotations

from tests.support import postgres

SECRET_KEY = "not a secret"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "dorm_vector",
    "tests.testapp",
    "tests.textapp",
]

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "tests.support.urls"
STATIC_URL = "static/"

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "postgresql": postgres.database(),
    "libsql": {
        "ENGINE": "dorm_vector.backends.libsql",
        "NAME": ":memory:",
        # pytest-xdist would make a file's name of this one.
        "TEST": {"NAME": ":memory:", "DEPENDENCIES": []},
    },
}

DATABASE_ROUTERS = ["tests.support.routers.OnlyPostgreSQL"]

# The engines that the contract runs on, by the alias of their database.
ENGINES = {"default": "sqlite", "postgresql": "postgresql", "libsql": "libsql"}
