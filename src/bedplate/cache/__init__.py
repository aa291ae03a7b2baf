"""Cache: connections to Redis or Valkey."""
