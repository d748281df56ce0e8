"""The checks, one module for each section of the requirements."""
