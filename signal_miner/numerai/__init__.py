"""Numerai's API and storage, through ``numerapi`` and guarded where it has defects."""
