"""Helpers that know nothing of mining."""
