"""Translation engines that can be exchanged, and the languages they speak of.

Used by the systems that translate; not data, so not in the layer. No file here knows a database
or a job, and only `problems.py` a request.
"""
