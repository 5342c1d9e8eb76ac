"""`python -m mixgym`: the `mixgym` command."""

from mixgym.commands.main import main

main()
