"""The agents that come with mixgym, one file each, in a folder a family.

mixgym finds them by entry points (group `mixgym.agents`) and never imports this package; the
interface that they implement is `mixgym.Agent` and `mixgym.Mixer`.
"""
