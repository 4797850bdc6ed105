"""Tests of the sockets, the processes, the shared memories and the audit log."""
