"""Tables: CSV, Markdown, LaTeX and the terminal's summary."""
