//! Lines as test suites and people write them.

use super::*;

fn taken(line: &str) -> Result<Taken, String> {
    take(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
}

#[track_caller]
fn args(line: &str) -> String {
    taken(line).expect("taken").args.join(" ")
}

#[track_caller]
fn wishes(line: &str) -> Wishes {
    let taken = taken(line).expect("taken");
    assert!(taken.notes.is_empty(), "{:?}", taken.notes);
    taken.wishes
}

#[test]
fn what_aetest_says() {
    let line = "--port=0 --api_port=0 --admin_port=0 --automatic_restart=false --skip_sdk_update_check=true --clear_datastore=true \
                --clear_search_indexes=true --datastore_path /tmp/x/datastore /tmp/x/app";
    let wanted = "--port=0 --api-port=0 --admin-port=0 --no-reload --clear --storage=/tmp/x/datastore.enginehouse -- /tmp/x/app";
    let args = wanted.split(' ').map(str::to_owned).collect();
    assert_eq!(taken(line), Ok(Taken { args, ..Taken::default() }));
}

#[test]
fn words_are_read_as_argparse_reads_them() {
    assert_eq!(args("-A shop app.yaml"), "--project=shop --port=8080 --api-port=0 -- app.yaml");
    assert_eq!(args("-Ashop --port 1 --automatic=no a b"), "--project=shop --port=1 --no-reload --api-port=0 -- a b");
    assert_eq!(args("--clear_datastore no a"), "--port=8080 --api-port=0 -- a");
    assert_eq!(
        args("--port=1 --clear_datastore --automatic_restart=no --clear_datastore=no --automatic_restart --port=2 a"),
        "--port=2 --api-port=0 -- a"
    );
    assert_eq!(args("--clear_search_indexes a"), "--port=8080 --api-port=0 -- a", "a path is no yes or no");
    assert_eq!(args("--env_var A=b=c -- --odd"), "--env-var=A=b=c --port=8080 --api-port=0 -- --odd");
    for line in ["--storage_path s --datastore_path d a", "--datastore_path d --storage_path s/ a"] {
        let all = args(line);
        assert!(all.contains("--storage=s/enginehouse ") && all.matches("--storage").count() == 1, "one storage: {all}");
    }
}

#[test]
fn the_mail_server_is_one_address() {
    let url = |line: &str| args(&format!("{line} a")).split(' ').find_map(|arg| arg.strip_prefix("--smtp-url=").map(str::to_owned));
    assert_eq!(url("--smtp_host=mx.example.org").as_deref(), Some("smtp://mx.example.org:25"));
    assert_eq!(
        url("--smtp_password=p:w@/ --smtp_host mx --smtp_port=587 --smtp_user a@b").as_deref(),
        Some("smtp://a%40b:p%3Aw%40%2F@mx:587")
    );
    assert_eq!(url("--smtp_allow_tls=no --smtp_host=127.0.0.1").as_deref(), Some("smtp+plain://127.0.0.1:25"));
    assert_eq!(url("--smtp_user=a --smtp_password=b"), None, "nothing without a host");
    assert_eq!(url("--enable_sendmail --smtp_host=mx").as_deref(), Some("smtp://mx:25"));
    assert_eq!(url("--enable_sendmail=yes").as_deref(), Some("smtp://localhost:25"));
    assert_eq!(url("--show_mail_body --enable_task_running=no"), None);
    let wrong = taken("--smtp_host=a/b --smtp_user=u --smtp_password=secret a").expect_err("no host");
    assert!(wrong.contains("a/b") && !wrong.contains("secret"), "{wrong}");
}

#[test]
fn what_run_has_no_flags_for_is_wished() {
    let each = |text: &str| Each::read(text, is_on).expect("read");
    assert_eq!(wishes("--threadsafe_override=default:no,api:yes a").threadsafe, each("default:no,api:yes"));
    assert_eq!(wishes("--runtime=python27 a").runtime, Runtime::parse("python27"));
    assert_eq!(wishes("--max_module_instances=default:2 a").instances, Each::read("default:2", |n| n.parse().ok()).expect("read"));
    assert_eq!(wishes("--custom_entrypoint=serve:{port} a").entrypoint.as_deref(), Some("serve:$PORT"));
    assert_eq!(wishes("--log_level=warning a").level, Some(Severity::Warning));
    assert_eq!(wishes("--default_gcs_bucket_name b a").bucket.as_deref(), Some("b"));
    assert!(wishes("--allow_skipped_files a").all_files && !wishes("--allow_skipped_files=no a").all_files);
    assert!(wishes("--watcher_ignore_re=.*\\.log$ a").unwatched.is_some());
    let account = wishes("--appidentity_email_address=a@b --appidentity_private_key_path=k.pem a").account;
    assert_eq!(account, Some(("a@b".into(), "k.pem".into())));
    assert!(args("--jvm_flag=-Xmx1g --jvm_flag -ea a").contains("--env-var=JAVA_TOOL_OPTIONS=-Xmx1g -ea "));
    assert!(args("--running_datastore_emulator_host=h:1 a").contains("--env-var=DATASTORE_EMULATOR_HOST=h:1 "));
}

/// No flag is refused: each is done, noted, or changes nothing.
#[test]
fn every_flag_is_taken() {
    for (name, fate) in VALUES {
        let value = match fate {
            Fate::Port(_) | Fate::Own(Own::SmtpPort | Own::Instances) => "8",
            Fate::Own(Own::LogLevel) => "info",
            Fate::Own(Own::Threadsafe) => "no",
            _ => "x",
        };
        assert!(taken(&format!("--{name}={value} a")).is_ok(), "{name}");
    }
    for (name, _) in SWITCHES {
        for value in ["", "=yes", "=no"] {
            assert!(taken(&format!("--{name}{value} a")).is_ok(), "{name}{value}");
        }
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    for (line, reason) in [
        ("--runtime=python a", "no runtime `python`"),
        ("--api_host=0.0.0.0 a", "loopback"),
        ("--api_server_supports_grpc a", "gRPC"),
        ("--specified_service_ports=api:1 a", "host names"),
        ("--python_startup_script=x.py a", "import it"),
        ("--appidentity_email_address=a@b a", "without --appidentity_private_key_path"),
        ("--enable_sendmail a", "port 25"),
        ("--require_indexes a", "no datastore yet"),
    ] {
        let notes = taken(line).expect(line).notes;
        assert!(notes.len() == 1 && notes[0].contains(reason), "{line}: {notes:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for (line, reason) in [
        ("--nothing a", "is no flag"),
        ("--clear a", "--clear_datastore --clear_search_indexes"),
        ("--port=x a", "no port"),
        ("--smtp_port=0 a", "no port"),
        ("--automatic_restart=maybe a", "yes or no"),
        ("--log_level=loud a", "warning"),
        ("--max_module_instances=default:0 a", "no value"),
        ("--watcher_ignore_re=( a", "watcher_ignore_re"),
        ("--port", "needs a value"),
        ("--port=1", "name the app's folder"),
    ] {
        let text = taken(line).expect_err(line);
        assert!(text.contains(reason), "{line}: {text}");
    }
}

#[test]
fn every_flag_stands_once() {
    let mut names: Vec<_> = VALUES.iter().chain(SWITCHES).map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    // `add_argument` of cli_parser.py of SDK 1.9.88, `-A` with `--application` once.
    assert_eq!(names.len(), 81);
}
