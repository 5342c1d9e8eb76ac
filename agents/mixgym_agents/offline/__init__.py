"""Offline agents (d3rlpy): CQL, BC, IQL, TD3+BC."""
