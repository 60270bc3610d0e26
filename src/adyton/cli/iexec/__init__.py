"""The ``iexec`` command: the official client's grammar, files and output (8.24.0) over :mod:`adyton.sdk`.

``table`` lists the commands, ``grammar`` reads the command line, each verb module says what it accepts and runs, and
``main`` is the one border where results and errors become text.
"""
