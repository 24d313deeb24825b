"""How fast it is, measured: the engine beside onnxruntime alone, and every door under load."""
