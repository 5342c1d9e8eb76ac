"""Extractors: one function a domain, reading documents out of wheels; one module a family."""
