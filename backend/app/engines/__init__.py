"""Execution of tasks: the embedded worker, the Celery worker, and the sweeper."""
