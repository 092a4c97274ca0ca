"""Write the OpenAPI document: `python -m app.api.document > docs/openapi.json`."""

from __future__ import annotations

import json
import sys

from app.api.application import create_app
from app.core.config import Settings
from app.core.database import Database


def openapi_text() -> str:
    """The document as it is committed; no database is asked."""
    settings = Settings()
    app = create_app(Database(settings, "postgresql+psycopg://"), settings)
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_text())
