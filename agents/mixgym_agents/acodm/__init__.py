"""AC-ODM, the actor-critic of arXiv 2505.23878."""
