"""login.microsoftonline.com: discovery, realms, nonces, tokens."""
