"""Answers questions from the handbook, with citations."""
