"""Builds the compiled wheel: the packages' own source, made into C by mypyc. In no wheel itself.

    scripts/build-wheel             # or: KEYTRUST_COMPILED=1 python -m hatchling build -t wheel

The source is staged in a temporary folder and compiled there; no `.so` ever lies beside a file that
somebody edits.
"""
