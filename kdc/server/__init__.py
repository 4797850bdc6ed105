"""The ring of I/O around the pure core: sockets, processes, shared memories, the audit log."""
