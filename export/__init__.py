"""Bundle in, artifact folder out: each target is a module with two verbs, ``lower`` and ``check``."""
