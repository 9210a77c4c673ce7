"""Data in Numerai's layout, read era by era: data sets, folds and the demo market."""
