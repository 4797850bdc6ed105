"""The command `tenant`: one module a noun. It shares the errors and tables of `kdc`."""
