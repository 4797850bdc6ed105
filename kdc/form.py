"""Whether this KDC runs from its source or as compiled by mypyc (scripts/build-wheel)."""

from typing import Literal

FORM: Literal["compiled", "interpreted"] = "interpreted" if __file__.endswith(".py") else "compiled"
"""The same for all modules that are ever compiled: a wheel holds all of them or none."""
