"""Pieces on disk: one format, written, read, checked, imported."""
