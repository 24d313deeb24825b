"""HTTP with JSON and multipart."""
