"""Figures: mixture rivers, loss curves, paired differences, and the environments' frames."""
