"""Mixers: rules from signals to mixtures, one file each."""
