//! Handlers of app.yaml and include files.

super::codes! {
    A0101 Error "a handler does nothing"
    what "The handler has none of `script`, `static_dir` and `static_files`."
    why "It would match requests and have no answer for them."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /x\n"

    A0102 Error "a key that does not go with this kind of handler"
    what "Some keys only make sense for static files: `upload`, `mime_type`, `expiration`, `http_headers`, `require_matching_file` and \
          `application_readable`; `upload` only for `static_files`."
    why "The setting would have no effect. Scripts set headers, types and cache periods themselves."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /x\n  script: auto\n  http_headers:\n    X-A: b\n"

    A0103 Error "a handler of two kinds"
    what "The handler has more than one of `script`, `static_dir` and `static_files`."
    why "Only one of them could answer."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /x\n  script: auto\n  static_dir: x\n"

    A0104 Error "a url of the wrong form"
    what "A handler's `url` begins with `/` (or with `.` or a group that stands for it). It is compared with the whole path, so that `^` at its \
          beginning is neither needed nor allowed."
    why "It could never match a path."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: img/.*\n  script: auto\n"

    A0105 Error "a pattern that cannot be used"
    what "The regular expression is broken."
    why "The SDK accepts the file and fails when the first request comes in."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /(a\n  script: auto\n"

    A0106 Error "a back-reference to a group that does not exist"
    what "`\\1` in `static_files` or `script` stands for what the first group of `url` matched; there is no such group."
    why "The name of the file or script could not be built."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /img/.*\n  static_files: img/\\1\n  upload: img/.*\n"

    A0107 Error "`static_dir` takes a plain prefix"
    what "The `url` of a `static_dir` handler has a group."
    why "What follows the prefix is appended to the folder by itself; a group would have no use, and the documents forbid it."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /img/(.*)\n  static_dir: static/img\n"

    A0108 Error "`static_files` without `upload`"
    what "`upload` is the pattern of the files that belong to the handler."
    why "Which files a pattern with back-references may name cannot be worked out backwards."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /(.*\\.png)\n  static_files: static/\\1\n"

    A0109 Error "a header that may not be set"
    what "The name is not an HTTP token, belongs to requests only, is hop-by-hop, is computed by the front end, or begins with `X-Appengine`."
    why "The front end would drop or overwrite it."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /x\n  static_dir: x\n  http_headers:\n    Content-Length: 5\n"

    A0110 Error "a header value that may not be sent"
    what "The value has characters outside printable ASCII, or the line is too long: 500 bytes with name and line end; 10,240 for content \
          security policies, 4,096 for Set-Cookie, 2,047 for Location."
    why "It would break or be dropped on its way."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /x\n  static_dir: x\n  http_headers:\n    X-A: \"a\\nb\"\n"

    A0111 Error "two content types"
    what "The handler has `mime_type` and a `Content-Type` in `http_headers`."
    why "Only one of them could count."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /x\n  static_dir: x\n  mime_type: text/a\n  http_headers:\n    Content-Type: text/b\n"

    A0112 Warning "a handler that is never reached"
    what "An earlier handler matches every path that this one matches."
    why "Handlers are tried from top to bottom and the first match wins."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /.*\n  script: auto\n- url: /static\n  static_dir: static\n"

    A0113 Error "a CGI script in a threadsafe app"
    what "A `script` that ends in `.py` or contains `/` is a CGI script, which cannot take several requests at once."
    why "`threadsafe: true` promises that every script is a WSGI application."
    => "app.yaml" "runtime: python27\napi_version: 1\nthreadsafe: true\nhandlers:\n- url: /.*\n  script: main.py\n"

    A0114 Error "`position` outside an include file"
    what "`position` says whether a handler of an *included* file goes before or after those of app.yaml."
    why "In app.yaml itself the order of the list says all."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /x\n  script: auto\n  position: tail\n"

    A0115 Warning "`script` has no effect on this runtime"
    what "Runtimes other than python27 have one entry point for all requests; only `script: auto` says something."
    why "The name of a script is ignored; routing is the app's own work."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /.*\n  script: main.app\n"

    A0116 Error "a path that leaves the app folder"
    what "The path is absolute or climbs out with `..`."
    why "Files outside the app folder are neither deployed nor served."
    => "app.yaml" "runtime: python312\nhandlers:\n- url: /x\n  static_dir: ../secrets\n"

    A0117 Warning "more than 100 handlers"
    what "After includes and builtins are merged in there are more than 100 handlers."
    why "They work here, and cost nothing, but Google's App Engine refuses such an app."

    A0118 Warning "no handlers"
    what "The list of handlers of a python27 app is empty."
    why "Every request will be answered with 404."
    => "app.yaml" "runtime: python27\napi_version: 1\nthreadsafe: true\nhandlers: []\n"
}
