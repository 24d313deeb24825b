"""Run by alembic, on the connection that `log.database` hands over."""

from __future__ import annotations

from alembic import context

from alloysort_inference.log.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
