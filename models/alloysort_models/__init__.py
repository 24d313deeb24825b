"""The networks (torch) and, apart from them and free of torch, the bundle: what a released model is."""
