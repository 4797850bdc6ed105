"""`python -m kdc` is the command `kdc`."""

from kdc.cli.main import main

main()
