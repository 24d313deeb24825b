"""The front door: the `alloysort` command, and the few names a script imports."""
