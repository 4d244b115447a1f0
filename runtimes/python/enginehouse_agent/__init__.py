"""The Python agent of Enginehouse: serves one App Engine instance behind a Unix socket.

The front end has parsed the HTTP request already; here it becomes a WSGI call or a CGI script run. The same files run on
Python 2.7 and on Python 3.6 and later, with nothing but the standard library, because they are copied next to whatever
interpreter an app names. The wire format is described in docs/design/agent-protocol.md.

    config       the start-up settings in ENGINEHOUSE_AGENT
    protocol     frames on the socket
    server       accepts connections, one thread each, and stops in an orderly way
    connection   one connection: reads requests, runs them, sends answers and logs
    body         the request body as a file
    wsgi, cgiscript, loader   run the app's code and check what it answers
    context, environment      what belongs to the request a thread is serving; os.environ
    logs         logging, print and standard error go to the log of the request
    threadlocals forgets threading.local data after each request
    deadline     DeadlineExceededError in requests that run too long
    files        the read-only file system and hidden files of the first generation
    sdk          a small stand-in for google.appengine when the SDK is absent
    apicalls     API calls of the SDK for Python 2.7, on the wire
    apistub      where API calls of the SDK for Python 2.7 go
    hostnames    names of Google's servers that lead to the house
    overfetch    httplib over URL Fetch in Python 2.7
    applogs      the SDK's own buffer of log lines
    tracebacks   tracebacks without the agent's own frames
"""
