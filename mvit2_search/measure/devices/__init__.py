"""The devices that networks are timed on, each behind the same protocol."""
