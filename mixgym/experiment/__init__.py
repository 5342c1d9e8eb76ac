"""What comparisons, training, tuning and collecting share."""
