"""A Windows client of the tenant: joins a device, registers a Hello key, signs in with it.

For labs and their proofs. It shares none of the server's code beyond formats; what it gets is no
evidence of how real clients behave, which the tests with roadtx are.
"""
