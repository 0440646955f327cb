"""One file per grader."""
