"""Runs a study: draws, trains, resumes and reports its status."""
