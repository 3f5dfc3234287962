"""The live desk assistant over AG-UI and Responses."""
