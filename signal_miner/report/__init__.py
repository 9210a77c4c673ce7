"""The report of a study: figures, and one page that is read offline, from what was tracked and concluded of it."""
