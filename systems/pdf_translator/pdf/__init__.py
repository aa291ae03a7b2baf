"""PDF files, read and written: the only room that knows pypdfium2, pikepdf and reportlab.

Files come from strangers, so all of it happens in a child process with limits (`child.py`), which
`sandbox.py` starts; nothing else here is imported by the API or the worker.
"""
