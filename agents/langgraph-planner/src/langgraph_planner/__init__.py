"""Turns a support case into a plan and carries it out."""
