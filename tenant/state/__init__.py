"""The tenant's own state in SQLite, apart from the directory: what is not synced is not there."""
