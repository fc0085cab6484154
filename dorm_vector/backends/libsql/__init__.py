"""A Django database backend for libSQL: ``ENGINE = "dorm_vector.backends.libsql"``."""
