"""Agents that train proxy models, and what they share."""
