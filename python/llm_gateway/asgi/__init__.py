"""HTTP in and out. Decides nothing: `auth` knows who asks, `policy` what may be done, `_core` does it."""
