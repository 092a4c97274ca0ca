"""Atlassian's own JSON schema of ADF, unmodified, and the validator that judges by it.

The file, its licence and where it comes from stand side by side in `schema/`.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, TypeAlias

import jsonschema_rs

JsonSchema: TypeAlias = dict[str, Any]

SCHEMA_FILE = "adf-full-57.7.22.json"
REFERENCE_PREFIX = "#/definitions/"


@cache
def load_schema() -> JsonSchema:
    """Return the schema (JSON Schema draft 4); shared, so read it only."""
    file = resources.files("app.tasks.adf") / "schema" / SCHEMA_FILE
    schema: JsonSchema = json.loads(file.read_text(encoding="utf-8"))
    return schema


@cache
def load_validator() -> jsonschema_rs.Validator:
    """Return the compiled schema; built once per process, in a few milliseconds, and thread-safe.

    Call nothing but its `is_valid` on what people send in: its other methods collect an error for
    every branch of every `anyOf`, so their cost grows exponentially with the depth of a document.
    """
    validator: jsonschema_rs.Validator = jsonschema_rs.validator_for(load_schema())
    return validator
