"""Why a request was refused: recorder of refusals, message as a tree, rule, cause and fix."""
