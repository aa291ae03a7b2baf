"""PDF files, written: the text of their blocks exchanged. The only room that knows reportlab.

It happens in a child process with limits, as reading does (`systems/documents/`); `sandbox.py`
starts it, and nothing else here is imported by the API or the worker.
"""
