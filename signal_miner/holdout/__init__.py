"""Evaluates one model of a study on its locked holdout eras."""
