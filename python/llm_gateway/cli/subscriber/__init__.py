"""The subscriber's side: sign in, print a fresh token, set programs up, show what is left."""
