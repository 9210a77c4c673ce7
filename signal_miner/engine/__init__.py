"""Trains and scores one configuration within a memory plan."""
