"""The verbs of this repository. Nothing here ships in an image."""
