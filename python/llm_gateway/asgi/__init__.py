"""HTTP in and out. Decides nothing: who asks is `auth`'s, what may be done is `policy`'s, doing it is `_core`'s."""
