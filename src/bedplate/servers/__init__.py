"""How PostgreSQL and Valkey are embedded: found, started, watched and stopped.

One detached supervisor per state folder owns both servers; commands speak to it over a control
socket. The request path cannot reach this room: managed services take its place in production.
"""
