//! Includes, builtins and libraries.

super::codes! {
    A0401 Error "an included file cannot be found"
    what "The path is tried as it stands (absolute, or from the current folder), then from the app folder, then from the folder of the file that \
          includes it. Of a folder, its include.yaml is read."
    why "The handlers in it would be missing."

    A0402 Error "a key that an include file may not have"
    what "Include files may have `admin_console`, `builtins`, `env_variables`, `handlers`, `includes`, `manual_scaling` and `skip_files`."
    why "Everything else is decided in app.yaml alone."
    => "include.yaml" "runtime: python27\nhandlers:\n- url: /x\n  script: x.app\n"

    A0403 Error "an unknown builtin"
    what "The builtins are `admin_redirect`, `appstats`, `default`, `deferred`, `django_wsgi` and `remote_api`."
    why "There is nothing to include under that name."
    => "app.yaml" "runtime: python27\napi_version: 1\nthreadsafe: true\nbuiltins:\n- defered: on\nhandlers:\n- url: /.*\n  script: main.app\n"

    A0404 Error "several builtins in one item"
    what "Each item of `builtins` names one: `- deferred: on`."
    why "The order of builtins is the order of their handlers, and keys of one mapping have none."
    => "app.yaml" "runtime: python27\napi_version: 1\nthreadsafe: true\nbuiltins:\n- deferred: on\n  appstats: on\nhandlers:\n- url: /.*\n  script: main.app\n"

    A0405 Error "a builtin named twice"
    what "The same builtin appears twice in one file."
    why "If one says `on` and the other `off`, neither can be right."
    => "app.yaml" "runtime: python27\napi_version: 1\nthreadsafe: true\nbuiltins:\n- deferred: on\n- deferred: on\nhandlers:\n- url: /.*\n  script: main.app\n"

    A0406 Error "an unknown library"
    what "The library is not among those that python27 had."
    why "Only those can be named here; put others into a folder of the app (`vendor.add('lib')`)."
    => "app.yaml" "runtime: python27\napi_version: 1\nthreadsafe: true\nlibraries:\n- name: djnago\n  version: latest\nhandlers:\n- url: /.*\n  script: main.app\n"

    A0407 Error "an unknown version of a library"
    what "python27 had only certain versions of each library. `latest` takes the newest."
    why "An unquoted `1.10` is the number 1.1 to YAML: put versions in quotes."
    => "app.yaml" "runtime: python27\napi_version: 1\nthreadsafe: true\nlibraries:\n- name: webapp2\n  version: \"9\"\nhandlers:\n- url: /.*\n  script: main.app\n"

    A0408 Error "a library named twice"
    what "The same library appears twice."
    why "Only one version of it can be imported."
    => "app.yaml" "runtime: python27\napi_version: 1\nthreadsafe: true\nlibraries:\n- name: lxml\n  version: latest\n- name: lxml\n  version: \"2.3\"\nhandlers:\n- url: /.*\n  script: main.app\n"

    A0409 Error "`libraries` on a newer runtime"
    what "Only python27 has `libraries`."
    why "Newer runtimes install what requirements.txt, package.json and the like name."
    => "app.yaml" "runtime: python312\nlibraries:\n- name: flask\n  version: \"0.12\"\n"
}
