//! The tasks of an app, as their owner sees them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const NOW: i64 = 1_763_200_000_000_000;

fn open(folder: &Path) -> Tasks {
    Tasks::open(folder, || {}).expect("opens")
}

fn fresh(name: Option<&str>, eta: i64) -> Fresh {
    Fresh { name: name.map(str::to_owned), eta, tag: None, size: 10, spec: b"spec".to_vec() }
}

fn add(tasks: &Tasks, queue: &'static str, task: Fresh) -> std::result::Result<Added, Refused> {
    tasks.change_now(move |change| change.add(queue, &task, NOW)).expect("written")
}

#[test]
fn s1_added_tasks_are_there_after_a_restart() {
    let home = tempfile::tempdir().expect("a folder");
    let tasks = open(home.path());
    let one = add(&tasks, "default", fresh(Some("one"), 5)).expect("added");
    let two = add(&tasks, "default", fresh(None, 3)).expect("added");
    let three = add(&tasks, "default", fresh(None, 3)).expect("added");
    assert!(two.name < three.name && two.name.len() == 20, "{two:?} {three:?}");
    assert_eq!(add(&tasks, "default", fresh(Some("one"), 5)), Err(Refused::Exists));
    assert!(add(&tasks, "other", fresh(Some("one"), 5)).is_ok(), "names are a queue's own");
    drop(tasks);
    let tasks = open(home.path());
    let due = tasks.read(|view| view.due("default", (i64::MIN, 0), 10)).expect("read");
    assert_eq!(due, [(3, two.id), (3, three.id), (5, one.id)]);
    let queue = tasks.read(|view| view.queue("default")).expect("read").expect("there");
    assert_eq!((queue.tasks, queue.bytes), (3, 30));
    assert_eq!(tasks.check().expect("checked"), Vec::<String>::new());
}

#[test]
fn s1_names_of_gone_tasks_stay_used() {
    let home = tempfile::tempdir().expect("a folder");
    let tasks = open(home.path());
    let one = add(&tasks, "q", fresh(Some("one"), 5)).expect("added");
    assert!(tasks.change_now(move |change| change.remove(one.id, Left::TombstoneIfNamed(NOW + 5))).expect("removed"));
    assert_eq!(add(&tasks, "q", fresh(Some("one"), 5)), Err(Refused::Tombstoned));
    let deleted = |name: &'static str| tasks.change_now(move |change| change.delete("q", name, NOW, NOW + 5)).expect("answered");
    assert_eq!((deleted("one"), deleted("two")), (Err(Refused::Tombstoned), Err(Refused::Unknown)));
    tasks.change_now(|change| change.tidy(NOW + 6)).expect("tidied");
    assert!(add(&tasks, "q", fresh(Some("one"), 5)).is_ok(), "nine days later");
    assert_eq!(deleted("one"), Ok(()));
    tasks.change_now(|change| change.forget("q", "one")).expect("forgotten");
    assert!(add(&tasks, "q", fresh(Some("one"), 5)).is_ok());
}

#[test]
fn s1_a_purge_takes_no_longer_for_more_tasks() {
    let home = tempfile::tempdir().expect("a folder");
    let tasks = open(home.path());
    for name in ["a", "b"] {
        add(&tasks, "q", fresh(Some(name), 5)).expect("added");
    }
    tasks.change_now(|change| change.purge("q", NOW)).expect("purged");
    let queue = tasks.read(|view| view.queue("q")).expect("read").expect("there");
    assert_eq!((queue.tasks, queue.bytes, queue.purged), (0, 0, Some(NOW)));
    assert_eq!(tasks.read(|view| view.due("q", (i64::MIN, 0), 10)).expect("read"), []);
    assert_eq!(add(&tasks, "q", fresh(Some("a"), 5)), Err(Refused::Tombstoned), "before it is tidied");
    for _ in 0..3 {
        tasks.change_now(|change| change.tidy(NOW)).expect("tidied");
    }
    assert_eq!(add(&tasks, "q", fresh(Some("a"), 5)), Err(Refused::Tombstoned), "and after");
    assert!(add(&tasks, "q", fresh(Some("c"), 5)).is_ok());
    assert_eq!(tasks.check().expect("checked"), Vec::<String>::new());
}

#[test]
fn s1_leases_by_time_tag_and_group() {
    let home = tempfile::tempdir().expect("a folder");
    let tasks = open(home.path());
    for (name, eta, tag) in [("a", 1, Some("x")), ("b", 2, None), ("c", 3, Some("x")), ("d", 4, Some("y")), ("later", NOW + 9, Some("x"))] {
        let task = Fresh { tag: tag.map(|tag| tag.as_bytes().to_vec()), ..fresh(Some(name), eta) };
        add(&tasks, "q", task).expect("added");
    }
    let lease = |group: bool, tag: Option<&str>, most: usize| {
        let wish = Wish { now: NOW, until: NOW + 1000, most, group, tag: tag.map(|tag| tag.as_bytes().to_vec()), tombstone: NOW };
        let leased = tasks.change_now(move |change| change.lease("q", &wish, |task| task.retries < 5)).expect("leased");
        leased.into_iter().map(|task| task.name).collect::<Vec<_>>()
    };
    assert_eq!(lease(true, None, 10), ["a", "c"], "the tag of the oldest");
    assert_eq!(lease(true, Some("y"), 10), ["d"]);
    assert_eq!(lease(true, Some("z"), 10), Vec::<String>::new());
    assert_eq!(lease(true, None, 10), ["b"], "the oldest has no tag");
    assert_eq!(lease(false, None, 10), Vec::<String>::new());
    let modified = |eta, now| tasks.change_now(move |change| change.modify("q", "a", eta, now, 7)).expect("answered");
    assert_eq!(modified(NOW + 999, NOW), Err(Refused::Expired));
    assert_eq!(modified(NOW + 1000, NOW + 1001), Err(Refused::Expired));
    assert_eq!(modified(NOW + 1000, NOW), Ok(()));
    assert_eq!(lease(false, None, 10), ["a"]);
}

#[test]
fn s1_changes_that_wait_share_a_flush() {
    let home = tempfile::tempdir().expect("a folder");
    let tasks = open(home.path());
    let (sender, receiver) = mpsc::channel();
    for number in 0..500 {
        let sender = sender.clone();
        tasks.change(
            move |change| change.add("q", &fresh(None, number), NOW),
            move |added| drop(sender.send(added.expect("written").expect("added").name)),
        );
    }
    drop(sender);
    let names: std::collections::BTreeSet<String> = receiver.iter().collect();
    assert_eq!(names.len(), 500);
    assert_eq!(tasks.check().expect("checked"), Vec::<String>::new());
}

#[test]
fn s1_an_error_undoes_everything_and_everybody_hears() {
    let home = tempfile::tempdir().expect("a folder");
    let tasks = open(home.path());
    let failed = tasks.change_now(|change| {
        change.add("q", &fresh(Some("one"), 5), NOW)?.expect("added");
        Err::<(), _>(StoreError::Invalid("no".into()))
    });
    assert!(failed.is_err());
    assert_eq!(tasks.read(|view| view.find("q", "one")).expect("read"), None);
    assert!(add(&tasks, "q", fresh(Some("one"), 5)).is_ok(), "the writer lives on");
}

/// A reader may look at the tasks as soon as they are open, while the writer's thread does not run yet.
#[test]
fn s1_what_another_process_changes_before_the_writer_runs_is_noticed() {
    let home = tempfile::tempdir().expect("a folder");
    let theirs = open(home.path());
    let writer = writer::Writer::new(connect(&home.path().join(FILE)).expect("opens"));
    add(&theirs, "q", fresh(None, 5)).expect("added");
    let ((sender, jobs), (told, ears)) = (mpsc::channel(), mpsc::channel());
    let listener = std::thread::spawn(move || {
        ears.recv_timeout(Duration::from_mins(1)).expect("noticed");
        // It works for as long as somebody could ask.
        drop(sender);
        ears.iter().count()
    });
    writer.run(&jobs, &|| told.send(()).unwrap_or_default());
    drop(told);
    assert_eq!(listener.join().expect("it was noticed"), 0, "once");
}

#[test]
fn s1_changes_of_another_process_are_noticed() {
    static OWN: AtomicUsize = AtomicUsize::new(0);
    let home = tempfile::tempdir().expect("a folder");
    let (told, ears) = mpsc::channel();
    let mine = Tasks::open(home.path(), move || told.send(OWN.load(Ordering::SeqCst)).unwrap_or_default()).expect("opens");
    add(&mine, "q", fresh(None, 5)).expect("added");
    OWN.store(1, Ordering::SeqCst);
    let theirs = open(home.path());
    add(&theirs, "q", fresh(None, 5)).expect("added");
    assert_eq!(ears.recv_timeout(Duration::from_mins(1)).expect("noticed"), 1);
}
