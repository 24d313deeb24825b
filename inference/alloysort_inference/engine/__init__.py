"""The engine: bundles in onnxruntime sessions."""
