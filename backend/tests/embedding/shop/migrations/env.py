"""The shop's own Alembic."""

from __future__ import annotations

import os

from alembic import context
from shop.models import Base
from sqlalchemy import NullPool, create_engine

from app.migrations.autogenerate import include_object

engine = create_engine(os.environ["SHOP_MIGRATION_URL"], poolclass=NullPool)
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=include_object,
    )
    with context.begin_transaction():
        context.run_migrations()
