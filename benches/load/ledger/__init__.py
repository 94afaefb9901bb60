"""The ledger campaign: whether quota stays exact while everything around it fails."""
