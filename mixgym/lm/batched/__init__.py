"""N training runs of one architecture at once."""
