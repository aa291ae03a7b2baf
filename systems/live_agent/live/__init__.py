"""The live part: rooms in this process, their history, and what goes over the WebSocket."""
