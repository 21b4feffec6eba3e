"""Functions of tensors: no parameters, no files."""
