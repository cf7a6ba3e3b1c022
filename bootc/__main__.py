"""`python -m bootc` is the command."""

from bootc.cli.main import main

main()
