"""Mining in a process of its own: started, followed, stopped, and found again after a notebook's kernel has ended."""
