"""The code of two hetida designer components, importable and ready to be imported there."""
