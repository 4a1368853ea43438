"""A PostgreSQL cluster for tests: made in a temporary folder, its socket there too, and removed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy
from sqlalchemy.engine import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

PASSWORD = "s3cret/@:%#?"  # noqa: S105 (what no error may show)
_SERVER = Path(__file__).with_name("postgresql_server.py")
# What a crash of the machine loses does not matter here. What the server would lose, by a careless
# default of its site, sealstore must not lose.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "log_min_messages": "fatal",
    "max_connections": "200",
    "max_wal_senders": "0",
    "synchronous_commit": "off",
    "wal_level": "minimal",
}

_IN_ENGLISH = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"


@dataclass
class Cluster:
    """A running server.

    Attributes:
        folder: where its data and its socket are.
        driver: the driver's name in URLs, as SQLAlchemy knows it.
        command: runs the server until its standard input ends.
    """

    folder: Path
    driver: str
    command: tuple[str, ...]
    _process: subprocess.Popen[bytes] | None = None
    _has_emptied: bool = False

    def start(self) -> None:
        """Start the server; it takes connections when this returns."""
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.folder
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            pytest.fail("PostgreSQL did not start: its message stands above")

    def stop(self) -> None:
        """Stop the server; its sessions end."""
        assert self._process is not None
        self._process.communicate()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """No server for the time of the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def url(self, database: str = "postgres", *, password: str = PASSWORD) -> str:
        """The URL of a database, the password in it."""
        socket = quote(str(self.folder), safe="")
        return f"postgresql://owner:{quote(password, safe='')}@/{database}?host={socket}"

    def create_database(self, name: str) -> str:
        """Make a database whose defaults are as unlike SQLite's as a site's may be; its URL."""
        with self.connected() as connection:
            try:
                # Sorts "B" between "a" and "c", and knows "Ä" as the capital of "ä".
                connection.exec_driver_sql(f"CREATE DATABASE {name} {_IN_ENGLISH}")
            except DBAPIError:
                # Before PostgreSQL 15, or built without ICU.
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            connection.exec_driver_sql(
                f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
            )
        return self.url(name)

    def emptied_database(self) -> str:
        """The URL of one database that is emptied each time: quicker than making one."""
        name = "emptied"
        if not self._has_emptied:
            self.create_database(name)
            self._has_emptied = True
        with self.connected(name) as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        return self.url(name)

    def end_sessions(self, database: str) -> None:
        """Break every connection to a database, as an administrator does."""
        end = sqlalchemy.text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        )
        with self.connected() as connection:
            connection.execute(end, {"name": database})

    @contextmanager
    def connected(self, database: str = "postgres") -> Iterator[sqlalchemy.engine.Connection]:
        """A connection in which each statement is its own transaction."""
        engine = self.engine(database)
        with engine.connect() as connection:
            yield connection
        engine.dispose()

    def engine(self, database: str) -> Engine:
        url = self.url(database).replace("postgresql://", f"postgresql+{self.driver}://")
        return create_engine(url, future=True, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def find_binaries() -> Path | None:
    """The folder of ``initdb`` and ``postgres``: along PATH, then where distributions put them."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    for pattern in ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin"):
        places += sorted(Path("/").glob(pattern), reverse=True)
    for place in places:
        if os.access(place / "initdb", os.X_OK) and os.access(place / "postgres", os.X_OK):
            return place
    return None


def find_driver() -> str | None:
    """The driver that sealstore uses with this SQLAlchemy, if it is installed."""
    driver = "psycopg2" if sqlalchemy.__version__.startswith("1.") else "psycopg"
    try:
        __import__(driver)
    except ImportError:
        return None
    return driver


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A server of one's own. Skips the test where there are no binaries or no driver."""
    binaries, driver = find_binaries(), find_driver()
    if binaries is None:
        pytest.skip("PostgreSQL's server programs (initdb, postgres) are not installed")
    if driver is None:
        pytest.skip("the driver for PostgreSQL is not installed")
    # Not below pytest's own folder: that one is closed to the user that the server runs as, and its
    # path may be longer than a socket's can be.
    with tempfile.TemporaryDirectory(prefix="sealstore-pg-") as name:
        folder = Path(name)
        user = _unprivileged_user()
        if user is not None:
            shutil.chown(folder, user)
        folder.chmod(0o700)
        _initialise(binaries, folder, user)
        cluster = Cluster(folder, driver, _command(binaries, folder, user))
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


def _command(binaries: Path, folder: Path, user: str | None) -> tuple[str, ...]:
    options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    server = (str(binaries / "postgres"), "-D", str(folder / "data"), "-k", str(folder), *options)
    return (sys.executable, str(_SERVER), user or "", *server)


def _unprivileged_user() -> str | None:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'")


def _initialise(binaries: Path, folder: Path, user: str | None) -> None:
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    if user is not None:
        shutil.chown(password_file, user)
    done = subprocess.run(
        [
            *(str(binaries / "initdb"), "--pgdata", str(folder / "data"), "--no-sync"),
            *("--username", "owner", "--pwfile", str(password_file), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale", "C"),
        ],
        capture_output=True,
        text=True,
        check=False,
        user=user,
        extra_groups=None if user is None else [],
        cwd=folder,
    )
    if done.returncode:
        pytest.fail(f"initdb failed: {done.stderr}")


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[Cluster]:
    """One server for all tests of a process."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def postgresql_url(postgresql_cluster: Cluster) -> str:
    """The URL of an empty database, as a site would set it."""
    return postgresql_cluster.emptied_database()
