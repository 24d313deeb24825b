"""The policy: from what the model says and what the operator wants to where the piece goes."""
