"""Partial TGTs for the lab's domain, in the form in which the cloud delivers them."""
