"""`python -m tenant` is the command `tenant`."""

from tenant.cli.main import main

main()
