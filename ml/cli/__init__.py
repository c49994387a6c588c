"""The command line ``mlog``: one module a word. A word is imported when it is asked for."""
