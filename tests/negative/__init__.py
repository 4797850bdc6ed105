"""Bad requests and what a KDC answers: rows, the client that sends them, and their tests."""
