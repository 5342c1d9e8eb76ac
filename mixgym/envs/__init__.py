"""Gymnasium environments around language-model training runs; see `registration` for the ids."""
