"""The command `kdc`: one module for each noun, loaded when it is used."""
