"""Messages as they are on the wire, one module for each document that defines them."""
