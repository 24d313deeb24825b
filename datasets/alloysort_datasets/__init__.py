"""What a piece is and where pieces come from: registry, tables, readers, LIBS physics, imagery."""
