"""Where deliveries come from: one module per kind of sender behind the interface in `source`, listed in `registry`."""
