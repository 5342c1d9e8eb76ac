"""What the learning agents share."""
