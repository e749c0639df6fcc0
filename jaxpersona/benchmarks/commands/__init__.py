"""One file a benchmark: ``python -m jaxpersona.benchmark NAME`` runs the file of that name.

A file has a frozen dataclass ``Config`` whose fields are the options (``output`` among them), and ``run``, from a config to rows.
"""
