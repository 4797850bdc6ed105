"""Whole servers, run as processes of their own."""
