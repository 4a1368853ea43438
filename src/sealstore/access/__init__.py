"""The access log: what was loaded, verified, exported and inspected, or why it was refused."""

from sealstore.access.log import AccessLog, AccessReading
from sealstore.access.place import access_rows

__all__ = ["AccessLog", "AccessReading", "access_rows"]
