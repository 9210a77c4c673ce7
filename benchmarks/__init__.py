"""Measurements of the project's speed; each module runs with ``python -m benchmarks.<name>``."""
