"""The training run: models, batches drawn by a mixture, optimiser steps, checkpoints.

Nothing here knows about Gymnasium; a `TrainingRun` is usable from a plain script.
"""
