"""Files: a stream opens, makes or moves one, without running any code of the attacker's."""

from __future__ import annotations

from typing import Any, Final

from tests.attacks.corpus.case import MARKER, PAYLOAD, Collection
from tests.attacks.corpus.opcodes import call, partial, stack_name, stream

files = Collection("files")
_ARRAY: Final = call("numpy:ones", 3)
_FRAME: Final = call("pandas:DataFrame", {"x": [1]})
_FILES: Final[dict[str, tuple[Any, ...]]] = {
    "builtins:open": (MARKER, "w"),
    "io:open": (MARKER, "w"),
    "_io:open": (MARKER, "w"),
    "_pyio:open": (MARKER, "w"),
    "io:FileIO": (MARKER, "w"),
    "codecs:open": (MARKER, "w"),
    "os:open": (MARKER, 0o101),
    "os:mkdir": (MARKER,),
    "os:makedirs": (MARKER,),
    "os:mkfifo": (MARKER,),
    "os:symlink": ("/", MARKER),
    "os:link": (PAYLOAD, MARKER),
    "os:rename": (PAYLOAD, MARKER),
    "shutil:copyfile": (PAYLOAD, MARKER),
    "shutil:move": (PAYLOAD, MARKER),
    "tempfile:mkdtemp": ("", MARKER, "."),
    "tempfile:mkstemp": ("", MARKER, "."),
    "gzip:GzipFile": (MARKER, "w"),
    "bz2:BZ2File": (MARKER, "w"),
    "lzma:LZMAFile": (MARKER, "w"),
    "zipfile:ZipFile": (MARKER, "w"),
    "tarfile:open": (MARKER, "w"),
    "sqlite3:connect": (MARKER,),
    "shelve:open": (MARKER,),
    "dbm.dumb:open": (MARKER,),
    "logging:FileHandler": (MARKER,),
    "logging.handlers:RotatingFileHandler": (MARKER,),
    "logging.handlers:WatchedFileHandler": (MARKER,),
    "mailbox:Maildir": (MARKER,),
    "wave:open": (MARKER, "wb"),
    "urllib.request:urlretrieve": ("data:,x", MARKER),
    "socketserver:UnixStreamServer": (MARKER, None),
    "numpy:save": (MARKER, _ARRAY),
    "numpy:savetxt": (MARKER, _ARRAY),
    "numpy:memmap": (MARKER, "u1", "w+", 0, (1,)),
    "numpy.lib.format:open_memmap": (MARKER, "w+", "u1", (1,)),
    "joblib:dump": (1, MARKER),
    "joblib.memory:Memory": (MARKER,),
    "joblib.disk:mkdirp": (MARKER,),
    "scipy.io:savemat": (MARKER, {"x": 1}),
    "scipy.io.wavfile:write": (MARKER, 1, _ARRAY),
    "sklearn.datasets:dump_svmlight_file": (call("numpy:ones", (1, 1)), [1], MARKER),
    "pandas.io.pickle:to_pickle": (1, MARKER),
}
for _target, _arguments in _FILES.items():
    files.add(_target.replace(":", "."), "makes a file", stream(call(_target, *_arguments)))
_METHODS: Final[dict[str, tuple[Any, ...]]] = {
    "pathlib:Path.touch": (call("pathlib:Path", MARKER),),
    "pathlib:Path.mkdir": (call("pathlib:Path", MARKER),),
    "pathlib:Path.write_text": (call("pathlib:Path", MARKER), "x"),
    "numpy:ndarray.tofile": (_ARRAY, MARKER),
    "numpy:ndarray.dump": (_ARRAY, MARKER),
    "pandas:DataFrame.to_csv": (_FRAME, MARKER),
    "pandas:DataFrame.to_pickle": (_FRAME, MARKER),
    "cProfile:Profile.dump_stats": (call("cProfile:Profile"), MARKER),
    "http.cookiejar:LWPCookieJar.save": (call("http.cookiejar:LWPCookieJar", MARKER),),
}
for _target, _arguments in _METHODS.items():
    files.add(
        _target.replace(":", "."),
        "a method that makes a file, by its dotted name",
        stream(call(stack_name(_target), *_arguments)),
    )
files.add(
    "argparse-file-type",
    "an argument's type that opens what it is called with",
    stream(call(call("argparse:FileType", "w"), MARKER)),
)
files.add(
    "logging-basic-config",
    "logging is configured with a file, named in a keyword argument",
    stream(call(partial("logging:basicConfig", filename=MARKER))),
)
_LOGGING: Final = {
    "version": 1,
    "handlers": {"x": {"class": "logging.FileHandler", "filename": MARKER}},
}
files.add(
    "logging-dict-config",
    "the file handler is named in a configuration only",
    stream(call("logging.config:dictConfig", _LOGGING)),
)
files.add(
    "logging-dict-config-factory",
    "a factory is named in a configuration only",
    stream(
        call(
            "logging.config:dictConfig",
            {"version": 1, "filters": {"x": {"()": "os.mkdir", "path": MARKER}}},
        )
    ),
)
files.add(
    "py_compile.compile",
    "a compiler that writes its result",
    stream(call("py_compile:compile", "neighbour.py", MARKER)),
    neighbours=lambda: {"neighbour.py": b""},
)
files.add(
    "handler-of-the-root-logger",
    "a handler that is appended to the loggers of the process",
    stream(
        call(
            stack_name("logging:root.addHandler"),
            call("logging:FileHandler", MARKER),
        )
    ),
)
files.add(
    "unix-socket",
    "a socket that is bound to a name",
    stream(call(stack_name("socket:socket.bind"), call("socket:socket", 1), MARKER)),
)
