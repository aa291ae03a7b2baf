"""PDF files, read block by block: what two systems need, and not data, so not in the layer.

Files come from strangers, so all of it happens in a child process with limits (`child.py`), which
`sandbox.py` starts; nothing else here is imported by the API or the worker.
"""
