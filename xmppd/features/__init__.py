"""What the server answers itself: one module for each RFC section or XEP, each with a literal `ROUTES`."""
