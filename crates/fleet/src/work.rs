//! Commands that prepare a version: pip, npm, go and the like. They run as the user, with the user's own settings, in a session that ends with us,
//! for a limited time, and what they print is kept.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};

use crate::fleet::House;
use crate::prepare::Progress;
use crate::spawn::Spec;

/// Lines shown when a command fails: its own summary comes last, the compiler's complaint before it.
const SHOWN: usize = 25;
/// More of the output than this is not kept: a build that prints without end must not fill the disk.
const MOST_KEPT: usize = 32 << 20;

/// One command.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    /// Its whole environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) dir: &'a Path,
    /// Where its output is kept.
    pub(crate) log: Option<&'a File>,
}

/// Runs it and hands every line that it prints to `heard`. The error holds the last lines.
pub(crate) fn run(house: &House, work: Work<'_>, heard: &mut dyn FnMut(&str)) -> Result<(), Vec<String>> {
    if house.closing.load(Ordering::SeqCst) {
        return Err(vec!["the house is closing".into()]);
    }
    let program = work.program;
    let broken = |e: io::Error| vec![format!("{} cannot be started: {e}", program.display())];
    let mark = house.installer_mark();
    let spec = Spec {
        program: program.into(),
        args: work.args,
        env: work.env,
        dir: work.dir.to_owned(),
        stdin: None,
        mark: mark.clone(),
        walls: None,
    };
    let (reader, writer) = io::pipe().map_err(broken)?;
    let mut command = spec.command(&house.options.launcher);
    command.stdout(writer.try_clone().map_err(broken)?).stderr(writer).stdin(Stdio::null());
    let mut child = command.spawn().map_err(broken)?;
    // The command holds the pipe's other end; as long as it does, the pipe has no end.
    drop(command);
    let pid = child.id();
    house.warden.watch(pid, &mark);
    if house.closing.load(Ordering::SeqCst) {
        // The house began to close between the start and the entry in the warden's book.
        house.warden.end(pid);
    }
    let late = AtomicBool::new(false);
    let mut last = std::thread::scope(|scope| {
        let (done, waits) = channel::<()>();
        let late = &late;
        scope.spawn(move || {
            if waits.recv_timeout(house.options.build_limit) == Err(RecvTimeoutError::Timeout) {
                late.store(true, Ordering::SeqCst);
                house.warden.end(pid);
            }
        });
        let last = listen(reader, work.log, heard);
        drop(done);
        last
    });
    let status = child.wait();
    house.warden.end(pid);
    match status {
        _ if late.load(Ordering::SeqCst) => {
            last.push_back(format!("ended after {:.0?}, which is as long as it may take (--build-timeout)", house.options.build_limit));
            Err(last.into())
        }
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            last.push_back(crate::life::describe(status));
            Err(last.into())
        }
        Err(e) => Err(broken(e)),
    }
}

/// Reads until nobody can write any more, and returns the last lines.
fn listen(reader: io::PipeReader, mut log: Option<&File>, heard: &mut dyn FnMut(&str)) -> VecDeque<String> {
    let mut last = VecDeque::new();
    let mut kept = 0;
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        if let Some(log) = &mut log
            && kept < MOST_KEPT
        {
            kept += line.len() + 1;
            let _ = log.write_all(&line).and_then(|()| log.write_all(b"\n"));
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        heard(&line);
        if last.len() == SHOWN {
            last.pop_front();
        }
        last.push_back(line);
    }
    last
}

/// The house's own environment, in which the user's proxies, indexes and certificates are configured, less these, plus those.
pub(crate) fn surroundings(astray: &[&str], own: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let kept = std::env::vars_os().filter(|(name, _)| !astray.iter().any(|other| name == other));
    kept.chain(own.iter().map(|(name, value)| (name.into(), value.into()))).collect()
}

/// Lets `progress` hear the lines that mean something to a reader.
pub(crate) fn narrate(progress: &dyn Progress) -> impl FnMut(&str) {
    move |line| {
        if !line.starts_with("DEPRECATION") && !line.starts_with("Looking in links") && !line.is_empty() {
            progress.line(line);
        }
    }
}
