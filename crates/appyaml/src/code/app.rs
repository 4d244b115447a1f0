//! The rest of app.yaml.

super::codes! {
    A0201 Error "a file for the flexible environment"
    what "`env: flex`, `vm: true` or `runtime: custom` mark an app of the flexible environment, which runs in containers of its own."
    why "Enginehouse runs standard environment apps. Nothing else of the file is looked at, because nearly every key means something else there."
    => "app.yaml" "runtime: python\nenv: flex\nentrypoint: gunicorn main:app\n"

    A0202 Error "unknown runtime"
    what "The name follows none of the patterns python27, python3x, nodejsNN, goNNN, javaNN, phpNN, rubyNN."
    why "The runtime decides how the app is built and started."
    => "app.yaml" "runtime: pyhton312\n"

    A0203 Error "a runtime that was retired"
    what "The first-generation runtimes other than python27 (python25, go up to 1.9, php55, java7, java8) were shut down long ago."
    why "They needed interpreters and servers that no longer exist outside Google. Their successors need small changes to the app."
    => "app.yaml" "runtime: php55\napi_version: 1\n"

    A0204 Error "a name that cannot be used"
    what "Names of projects, services and versions have lower-case letters, digits and hyphens; versions may not be `default`, `latest` or begin \
          with `ah-`."
    why "They become parts of host names, where those words have a meaning of their own."
    => "app.yaml" "runtime: python312\nversion: latest\n"

    A0205 Error "a reserved environment variable"
    what "Names that begin with `GAE` belong to the system."
    why "The runtime sets them itself; a value of the app's would be lost or break it."
    => "app.yaml" "runtime: python312\nenv_variables:\n  GAE_ENV: mine\n"

    A0206 Error "a name that cannot be an environment variable"
    what "Letters, digits and underscores, not beginning with a digit."
    why "Shells and programs could not read it."
    => "app.yaml" "runtime: python312\nenv_variables:\n  MY-VAR: x\n"

    A0207 Error "service and version are too long together"
    what "The names of service and version may have 63 characters together."
    why "They stand together in one label of a host name."
    => "app.yaml" "runtime: python312\nservice: a-service-whose-name-goes-on-and-on-and-on\nversion: a-version-whose-name-does-too\n"

    A0208 Warning "`application` is superseded"
    what "The project is named on the command line: `--project ID`."
    why "The documents advise against naming it in the file, which is the same for every project that the app is deployed to."
    => "app.yaml" "application: shop\nruntime: python312\n"

    A0209 Warning "a version that begins with a digit"
    what "`123-dot-service…` can mean version 123 or instance 123 of the default version."
    why "The version wins, so that the instance cannot be reached by its number."
    => "app.yaml" "runtime: python312\nversion: 20150101t120000\n"

    A0210 Error "an `api_version` that does not exist"
    what "python27 has exactly one version of its API: `1`."
    why "The documents require the key and allow this value only."
    => "app.yaml" "runtime: python27\napi_version: 2\nthreadsafe: true\nhandlers:\n- url: /.*\n  script: main.app\n"

    A0211 Warning "a setting that is not available on this engine"
    what "`vpc_access_connector` names a connector of Google's network."
    why "There is none here: an app reaches what the machine that it runs on reaches, and firewalls are the machine's own."
    => "app.yaml" "runtime: python312\nvpc_access_connector:\n  name: projects/p/locations/l/connectors/c\n"
}
