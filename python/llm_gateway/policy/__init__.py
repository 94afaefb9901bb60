"""Which model serves a request, and which quota windows it takes: pure, no I/O, no clock."""
