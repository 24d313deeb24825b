"""The bundle: a released model on disk, and what its graph takes. No torch here."""
