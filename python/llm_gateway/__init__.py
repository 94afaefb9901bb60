"""LLM Gateway: subscriptions in front of language models. Importing this package does nothing else."""

__version__ = "0.1.0"
