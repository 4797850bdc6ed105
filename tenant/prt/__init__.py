"""Primary refresh tokens: issued, used, renewed."""
