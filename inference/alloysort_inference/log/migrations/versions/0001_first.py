"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from alloysort_inference.log.schema import Moment

revision = "0001"
down_revision = None
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON_ = sa.JSON().with_variant(JSONB, "postgresql")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "about",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "alarms",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("advice", sa.Text(), nullable=False),
        sa.Column("since", Moment(), nullable=False),
        sa.Column("until", Moment(), nullable=True),
        sa.Column("acknowledged", Moment(), nullable=True),
        sa.Column("who", sa.Text(), nullable=True, comment="that acknowledged it"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("time", Moment(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("details", JSON_, nullable=True),
        sa.Column("refused", sa.Text(), nullable=True, comment="why; null: it was done"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "batches",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("opened", Moment(), nullable=False),
        sa.Column("closed", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "instruments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("wavelength_nm", sa.LargeBinary(), nullable=False, comment="float64, little endian"),
        sa.Column("saturation_counts", sa.Float(), nullable=True, comment="null: unknown"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sha256"),
    )
    op.create_table(
        "origins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sha256"),
        comment="bundles and recipes that decided",
    )
    op.create_table(
        "pieces",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False, comment="µs since 1970, counted on"),
        sa.Column("piece_id", sa.Text(), nullable=False),
        sa.Column("time", Moment(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("mass_g", sa.Float(), nullable=True, comment="where somebody told it"),
        sa.Column("family", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("accepted_as_aluminium", sa.Boolean(), nullable=False),
        sa.Column("novel", sa.Boolean(), nullable=False),
        sa.Column("novelty", sa.Float(), nullable=True),
        sa.Column("surface", sa.Float(), nullable=True),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column("outlet", sa.Text(), nullable=False),
        sa.Column("eject", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("total_ms", sa.Float(), nullable=False),
        sa.Column("waiting_ms", sa.Float(), nullable=False),
        sa.Column("decode_ms", sa.Float(), nullable=False),
        sa.Column("prepare_ms", sa.Float(), nullable=False),
        sa.Column("infer_ms", sa.Float(), nullable=False),
        sa.Column("decide_ms", sa.Float(), nullable=False),
        sa.Column("bundle", sa.Integer(), nullable=False),
        sa.Column("recipe", sa.Integer(), nullable=False),
        sa.Column("probabilities", JSON_, nullable=True, comment="by family, those of a thousandth or more"),
        sa.Column("composition", JSON_, nullable=True, comment="wt% by element"),
        sa.Column("composition_sigma", JSON_, nullable=True, comment="wt% by element"),
        sa.ForeignKeyConstraint(
            ["bundle"],
            ["origins.id"],
        ),
        sa.ForeignKeyConstraint(
            ["recipe"],
            ["origins.id"],
        ),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("pieces_by_batch", "pieces", ["batch"], unique=False)
    op.create_index("pieces_by_id", "pieces", ["piece_id"], unique=False)
    op.create_table(
        "kept",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("image", sa.LargeBinary(), nullable=True),
        sa.Column(
            "shots",
            sa.LargeBinary(),
            nullable=True,
            comment="float32 or uint16 in an .npy file, packed by zlib",
        ),
        sa.Column("instrument", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["instrument"],
            ["instruments.id"],
        ),
        sa.ForeignKeyConstraint(["seq"], ["pieces.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq"),
        comment="pieces whose picture and spectrum are kept, for labelling",
    )
    op.create_table(
        "labels",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("alloy", sa.Text(), nullable=True),
        sa.Column("time", Moment(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["pieces.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq"),
    )
