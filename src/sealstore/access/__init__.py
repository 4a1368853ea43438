"""The access log: what was loaded, verified, exported and inspected, or why it was refused."""

from sealstore.access.log import AccessLog
from sealstore.access.place import access_rows, open_access_log
from sealstore.access.reading import AccessReading

__all__ = ["AccessLog", "AccessReading", "access_rows", "open_access_log"]
