"""The access log: what was loaded, verified, exported and inspected, or why it was refused."""

from sealstore.repository.access_log.log import AccessLog
from sealstore.repository.access_log.place import access_rows, open_access_log
from sealstore.repository.access_log.reading import AccessReading

__all__ = ["AccessLog", "AccessReading", "access_rows", "open_access_log"]
