"""Selects members among a study's trials and blends them."""
