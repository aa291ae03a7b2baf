"""The smallest system that has migrations, one of them outside a transaction."""
