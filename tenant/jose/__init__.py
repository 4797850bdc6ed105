"""Strict JSON, JWS and JWT for every endpoint of the lab tenant."""
