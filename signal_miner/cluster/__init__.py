"""Trains a study's trials on the workers of a Dask cluster."""
