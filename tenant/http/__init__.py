"""HTTP as the handlers see it: requests, replies and routes as values, without a server."""
