"""The shapes of scrap, by the way they were made."""
