"""Scores of predictions: pure functions of predictions, targets and eras."""
