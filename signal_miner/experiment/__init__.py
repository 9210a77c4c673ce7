"""What is mined: the experiment file, its grid and constraint, and the plan over the data."""
