"""Small helpers without a place of their own: files, logs, progress, redaction, the process."""
