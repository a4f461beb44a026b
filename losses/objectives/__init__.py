"""Built-in objectives, one file a family; every module here is imported by the registry."""
