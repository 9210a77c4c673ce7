"""A trainer for features of few levels, which are stored as planes of bits and counted instead of gathered."""
