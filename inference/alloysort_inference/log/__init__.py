"""What was decided, kept."""
