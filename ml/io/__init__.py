"""Threads, processes, files and run directories.

The only package that starts a thread or a process, or opens a socket. What the
rest of the package needs of these, such as a lock, it imports from here.
"""
