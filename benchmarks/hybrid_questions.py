"""
Questions, each with the entry of the standard library's documentation that answers it.

They were written from the headings and the index of that documentation before any search was tried
with them, and none was changed or left out afterwards. Where two entries answer as well, as with
``shutil.get_terminal_size`` and ``os.get_terminal_size``, both are right.
"""

from __future__ import annotations

__all__ = ["IN_WORDS", "WITH_NAMES"]

# As somebody asks who does not know what it is called.
IN_WORDS: list[tuple[str, tuple[str, ...]]] = [
    ("merge several sorted inputs into one sorted output", ("heapq.merge",)),
    (
        "insert an item into a list and keep it sorted",
        ("bisect.insort_right", "bisect.insort_left"),
    ),
    ("compare two files for equality", ("filecmp.cmp",)),
    ("copy a whole directory tree", ("shutil.copytree",)),
    ("delete a directory and everything in it", ("shutil.rmtree",)),
    ("how much free space is on a disk", ("shutil.disk_usage",)),
    ("find an executable on the path", ("shutil.which",)),
    ("size of the terminal window", ("shutil.get_terminal_size", "os.get_terminal_size")),
    ("remove common leading whitespace from lines", ("textwrap.dedent",)),
    ("greatest common divisor", ("math.gcd",)),
    ("number of ways to choose k items from n", ("math.comb",)),
    ("standard deviation of a sample", ("statistics.stdev",)),
    ("most common value in data", ("statistics.mode",)),
    ("shuffle a list in place", ("random.shuffle",)),
    ("escape text for use in a shell command", ("shlex.quote",)),
    ("split a string like a shell does", ("shlex.split",)),
    ("replace the matches of a pattern in a string", ("re.sub", "re.Pattern.sub")),
    ("what day of the week is a date", ("datetime.date.weekday", "datetime.date.isoweekday")),
    ("is it a leap year", ("calendar.isleap",)),
    ("ask for a password without showing it", ("getpass.getpass",)),
    ("name of the user who is logged in", ("getpass.getuser", "os.getlogin")),
    ("random token that is safe in a URL", ("secrets.token_urlsafe",)),
    ("guess the type of a file from its name", ("mimetypes.guess_type",)),
    ("call a function when the program exits", ("atexit.register",)),
    ("pretty print nested data", ("pprint.pprint", "pprint.pp")),
    ("time how long a piece of code takes", ("timeit.timeit", "timeit.Timer.timeit")),
    ("show the bytecode of a function", ("dis.dis",)),
    ("get the source code of an object", ("inspect.getsource",)),
    ("visit all files below a folder", ("os.walk",)),
    ("send what is printed somewhere else for a while", ("contextlib.redirect_stdout",)),
    ("ignore an exception", ("contextlib.suppress",)),
    ("run a function in a thread after some seconds", ("threading.Timer",)),
    ("group equal neighbours of a sequence", ("itertools.groupby",)),
    ("read a file of comma separated values", ("csv.reader",)),
    ("count how often each element occurs", ("collections.Counter",)),
    ("words that are close to a misspelled one", ("difflib.get_close_matches",)),
]

# With a name, a constant, a format or a code in it.
WITH_NAMES: list[tuple[str, tuple[str, ...]]] = [
    ("EAGAIN when locking a file", ("fcntl.lockf",)),
    ("%Y-%m-%d", ("time.strftime", "time.strptime")),
    ("functools.singledispatch", ("functools.singledispatch",)),
    ("SIGALRM after some seconds", ("signal.alarm",)),
    ("turn O_NONBLOCK on for a file descriptor", ("os.set_blocking",)),
    ("W_OK", ("os.access",)),
    ("RFC 4122 identifiers", ("uuid.UUID",)),
    ("NFKC normal form", ("unicodedata.normalize", "unicodedata.UCD.normalize")),
    ("archive with ZIP_DEFLATED", ("zipfile.ZipFile",)),
    ("C14N 2.0", ("xml.etree.ElementTree.canonicalize",)),
    ("SO_REUSEPORT for a server", ("socket.create_server",)),
    ("SCM_RIGHTS", ("socket.SocketType.recvmsg",)),
    ("ESCDELAY", ("curses.set_escdelay", "curses.get_escdelay")),
    ("wait for a child with WNOHANG", ("os.waitid",)),
    ("STARTTLS for mail", ("smtplib.SMTP.starttls",)),
    ("POSIX_FADV_WILLNEED", ("os.posix_fadvise",)),
    ("VMIN and VTIME", ("termios.tcgetattr",)),
    ("TCSAFLUSH", ("termios.tcsetattr",)),
    ("XML_PARAM_ENTITY_PARSING_ALWAYS", ("pyexpat.XMLParserType.SetParamEntityParsing",)),
    ("str.casefold", ("str.casefold",)),
    ("zip_longest with a fillvalue", ("itertools.zip_longest",)),
    ("gather with return_exceptions", ("asyncio.gather",)),
    ("CalledProcessError if the exit code is not zero", ("subprocess.CalledProcessError",)),
    ("ensure_ascii", ("json.dumps", "json.dump")),
    ("default_factory of a missing key", ("collections.defaultdict",)),
    ("VAR_KEYWORD parameters", ("inspect.Parameter",)),
    ("ast.literal_eval", ("ast.literal_eval",)),
    ("set a signal to SIG_IGN", ("signal.signal",)),
    ("F_TLOCK", ("os.lockf",)),
    ("CRC32 checksum", ("zlib.crc32", "binascii.crc32")),
    ("makedirs exist_ok", ("os.makedirs",)),
    ("filename in a Content-Disposition header", ("email.message.Message.get_filename",)),
    ("WRAPPER_ASSIGNMENTS", ("functools.update_wrapper",)),
    ("MAP_SHARED memory", ("mmap.mmap",)),
    ("POSIXLY_CORRECT", ("getopt.gnu_getopt",)),
    ("what does sys.getrefcount count", ("sys.getrefcount",)),
]
