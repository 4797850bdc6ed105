"""Real clients against the live server; `kinit` proves what our own client cannot."""
