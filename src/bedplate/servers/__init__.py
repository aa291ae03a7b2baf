"""How PostgreSQL, Valkey and SeaweedFS are embedded: found, started, watched and stopped.

One detached supervisor per state folder owns the servers; commands speak to it over a control
socket. The request path cannot reach this room: managed services take its place in production.
"""
