"""The data that crosses an engine's border: frozen, JSON both ways, without a path, an object or a function in it."""
