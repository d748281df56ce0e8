"""Seeing and steering a running server: admin socket, log, health, service supervisor, loop watchdog."""
