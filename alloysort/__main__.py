"""`python -m alloysort`: the same as the `alloysort` command."""

from alloysort.cli import main

main()
