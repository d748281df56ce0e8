"""Trust: certificates and keys. `cryptography` is imported only when something is made or judged."""
