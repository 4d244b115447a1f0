//! The app as a whole: its folder, its services, the files that its settings name.

super::codes! {
    A0501 Error "no app.yaml"
    what "The folder has no app.yaml (or app.yml)."
    why "It is the file that makes a folder an app. Service files under other names are given by name."

    A0502 Error "two companion files of one kind"
    what "Two files with dispatch rules, cron jobs, queues, indexes or a blacklist are given."
    why "An app has one of each; merging two would have to guess which comes first."

    A0503 Error "the default service is missing"
    what "Several services are given, and none is the `default` service."
    why "Requests that name no service have nowhere to go; App Engine asks for the default service before any other."

    A0504 Error "two files for one service"
    what "Two files name the same service (a file that names none is the `default` service)."
    why "Each service is described by one file; which of the two would count is not to be guessed."

    A0505 Warning "the only service is not the default service"
    what "A single service is given, and it has a name of its own."
    why "It is served at the place of the default service too, so that it can be tried alone; production would refuse it without a default service."

    A0506 Error "an error page cannot be read"
    what "The `file` of an entry of `error_handlers` does not exist."
    why "When it is needed, it is too late."

    A0507 Error "an error page is too large"
    what "Error pages must be smaller than 10 KB."
    why "They are sent from memory at the worst of times; the documents set the limit."

    A0508 Warning "a static folder or file that does not exist"
    what "`static_dir`, or a `static_files` without back-references, names something that is not there."
    why "Requests for it will get 404."

    A0509 Warning "the services name different projects"
    what "`application` differs between the files; the default service's counts."
    why "All services of an app belong to one project."

    A0510 Warning "two error pages for one error"
    what "Two entries of `error_handlers` have the same `error_code` (an entry without one is for `default`)."
    why "The first one is used."
    => "app.yaml" "runtime: python312\nerror_handlers:\n- file: a.html\n- error_code: default\n  file: b.html\n"
}
