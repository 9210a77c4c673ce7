"""Numerai's data files in a local directory: complete, verified and current."""

from signal_miner.numerai.download.versions import download_version

__all__ = ["download_version"]
