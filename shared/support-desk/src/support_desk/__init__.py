"""The demo domain of Northpeak Outfitters. A fork replaces this package."""
