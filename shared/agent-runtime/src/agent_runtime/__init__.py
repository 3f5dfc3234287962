"""Domain-free building blocks that every agent image installs."""
