"""Turns an ensemble into a reproduced, refitted, packed and registered model."""
