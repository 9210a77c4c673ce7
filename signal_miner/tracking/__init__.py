"""Reads and writes studies in MLflow."""
