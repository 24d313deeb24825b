"""The front end: from what sensors deliver to rows of the engine's tensors, and how far to trust them."""
