"""Mining in a process of its own: started, looked at, stopped, and found again after a notebook's kernel is gone."""
