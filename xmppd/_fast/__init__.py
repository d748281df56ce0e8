"""The compiled core: mechanism without policy. What decides lives in the rooms right of it."""
