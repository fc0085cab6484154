"""Where Python's own documentation describes an entry."""

from __future__ import annotations

import builtins
import sys
from typing import Any
from urllib.parse import quote

__all__ = ["url_of"]

LIBRARY = "https://docs.python.org/{}.{}/library/".format(*sys.version_info)

# Modules in packages that have a page of their own. Others are on the page of their package.
OWN_PAGES = """
    collections.abc compression.bz2 compression.gzip compression.lzma compression.zlib
    compression.zstd concurrent.futures concurrent.interpreters curses.ascii curses.panel
    email.charset email.contentmanager email.encoders email.errors email.generator email.header
    email.headerregistry email.iterators email.message email.mime email.parser email.policy
    email.utils html.entities html.parser http.client http.cookiejar http.cookies http.server
    importlib.metadata importlib.resources importlib.resources.abc logging.config
    logging.handlers multiprocessing.shared_memory os.path string.templatelib sys.monitoring
    unittest.mock urllib.error urllib.parse urllib.request urllib.robotparser wsgiref xml.dom
    xml.dom.minidom xml.dom.pulldom xml.etree.ElementTree xml.sax xml.sax.handler xmlrpc.client
    xmlrpc.server
"""

# Pages that are called otherwise, by what begins the names on them.
OTHER_PAGES = {
    "asyncio-eventloop": """
        AbstractEventLoop BaseEventLoop Handle ProactorEventLoop SelectorEventLoop Server
        AbstractServer TimerHandle get_event_loop get_running_loop new_event_loop
        set_event_loop
    """,
    "asyncio-exceptions": """
        CancelledError IncompleteReadError InvalidStateError LimitOverrunError
        SendfileNotAvailableError TimeoutError
    """,
    "asyncio-future": """
        Future ensure_future isfuture wrap_future
    """,
    "asyncio-policy": """
        AbstractChildWatcher AbstractEventLoopPolicy DefaultEventLoopPolicy FastChildWatcher
        MultiLoopChildWatcher PidfdChildWatcher SafeChildWatcher ThreadedChildWatcher
        get_child_watcher get_event_loop_policy set_child_watcher set_event_loop_policy
    """,
    "asyncio-protocol": """
        BaseProtocol BaseTransport BufferedProtocol DatagramProtocol DatagramTransport
        Protocol ReadTransport SubprocessProtocol SubprocessTransport Transport WriteTransport
    """,
    "asyncio-queue": """
        LifoQueue PriorityQueue Queue QueueEmpty QueueFull QueueShutDown
    """,
    "asyncio-runner": """
        Runner run
    """,
    "asyncio-stream": """
        StreamReader StreamWriter open_connection open_unix_connection start_server
        start_unix_server
    """,
    "asyncio-subprocess": """
        create_subprocess_exec create_subprocess_shell subprocess
    """,
    "asyncio-sync": """
        Barrier BoundedSemaphore BrokenBarrierError Condition Event Lock Semaphore
    """,
    "asyncio-task": """
        Task TaskGroup Timeout all_tasks as_completed create_eager_task_factory create_task
        current_task eager_task_factory gather iscoroutine run_coroutine_threadsafe shield
        sleep timeout timeout_at to_thread wait wait_for
    """,
}
PAGES = {
    **{name: name for name in OWN_PAGES.split()},
    **{
        f"asyncio.{name}": page for page, names in OTHER_PAGES.items() for name in names.split()
    },
    "cProfile": "profile",
    "email.message.Message": "email.compat32-message",
    "email.message_from_binary_file": "email.parser",
    "email.message_from_bytes": "email.parser",
    "email.message_from_file": "email.parser",
    "email.message_from_string": "email.parser",
    "encodings": "codecs",
    "logging.FileHandler": "logging.handlers",
    "logging.NullHandler": "logging.handlers",
    "logging.StreamHandler": "logging.handlers",
    "multiprocessing.managers.SharedMemoryManager": "multiprocessing.shared_memory",
    "nturl2path": "urllib.request",
    "pstats": "profile",
    "urllib.response": "urllib.request",
    "xml.parsers.expat": "pyexpat",
    "xml.sax.saxutils": "xml.sax.utils",
    "xml.sax.xmlreader": "xml.sax.reader",
}  # fmt: skip

# Classes that are described among the functions, since they are called like these: with all of
# their methods, and without.
CALLED = (
    *("classmethod", "enumerate", "filter", "map", "object", "property", "reversed"),
    *("slice", "staticmethod", "super", "type", "zip"),
)
CONVERTED = ["bool", "complex", "float", "int"]


def url_of(entry: Any) -> str:
    """
    The address of what has this name and module, in the documentation of the Python that runs this.

    The address of what has this name and module, in the documentation of this version of Python.
    the address is right for all but one of them. The others lead to the page they would be on.
    """
    return f"{LIBRARY}{quote(_page(entry.name, entry.module))}.html#{quote(entry.name)}"


def _page(name: str, module: str) -> str:
    if module == "builtins":
        return "functions" if name in CONVERTED else _builtin(name.partition(".")[0])
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if page := PAGES.get(".".join(parts[:length])):
            return page.lower()
    return parts[0].lower()


def _builtin(name: str) -> str:
    value = getattr(builtins, name, None)
    if not isinstance(value, type) or name in CALLED:
        return "functions"
    return "exceptions" if issubclass(value, BaseException) else "stdtypes"
