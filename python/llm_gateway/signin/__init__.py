"""Signing in: the device flow for clients, the code flow for browsers, and what those who signed in get."""
