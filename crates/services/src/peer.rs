//! Which process is at the other end of a loopback connection. Instances share the machine's loopback, so an address alone proves nothing: any process
//! could look for the doors of others. The kernel's tables say which socket it is, and the descriptors of the instance's processes whether it is theirs
//! (docs/decisions/333-whose-connection.md).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use model::rpc::Residents;

/// A socket, as the kernel lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    uid: u32,
    inode: u64,
}

/// Whose a connection is, as places in the list that was asked about. More than one only where the kernel does not let us look.
pub(crate) type Owners = Vec<usize>;

/// Whose connection from `peer` to `here` is: the first of these that it belongs to. Where the house may not look into them (`CAP_SYS_PTRACE`), all that
/// run as its user. Blocks for some milliseconds.
///
/// # Errors
/// What is known instead, for people.
pub(crate) fn find(peer: SocketAddr, here: SocketAddr, all: &[Residents]) -> Result<Owners, String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let found = tables.iter().find_map(|table| listed(&fs::read_to_string(table).ok()?, peer, here));
    let Some(listed) = found else { return Err("the connection is not in the kernel's table".into()) };
    let mut why = "the instance has not begun yet";
    let mut likely = Vec::new();
    for (at, residents) in all.iter().enumerate() {
        let processes = processes(residents);
        match belongs(listed, &processes) {
            Belongs::Surely => return Ok(vec![at]),
            Belongs::Perhaps => likely.push((at, processes)),
            Belongs::No(other) => why = other,
        }
    }
    // A zygote's processes are its own and those of all that it forked: they know better.
    let holds_another = |at: usize, own: &BTreeSet<u32>| {
        likely
            .iter()
            .any(|(other, _)| all[*other].instance != all[at].instance && all[*other].pid != all[at].pid && own.contains(&all[*other].pid))
    };
    let narrowed: Owners = likely.iter().filter(|(at, own)| !holds_another(*at, own)).map(|(at, _)| *at).collect();
    if narrowed.is_empty() { Err(why.into()) } else { Ok(narrowed) }
}

/// Whether a connection belongs to these processes.
enum Belongs {
    /// One of them holds it.
    Surely,
    /// One that cannot be looked into runs as its user: all that can be said without the right to look. Under `strict` each instance has a user of its own.
    Perhaps,
    /// It does not, and why that is known.
    No(&'static str),
}

fn belongs(listed: Listed, processes: &BTreeSet<u32>) -> Belongs {
    let mut answer = Belongs::No("the connection belongs to another process");
    for pid in processes {
        match holds(*pid, listed.inode) {
            Ok(true) => return Belongs::Surely,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match (user_of(*pid), &answer) {
                (Some(uid), _) if uid == listed.uid => answer = Belongs::Perhaps,
                (_, Belongs::No(_)) => answer = Belongs::No("the connection belongs to another user"),
                _ => {}
            },
            // It has ended meanwhile, or holds others.
            Ok(false) | Err(_) => {}
        }
    }
    answer
}

/// The socket with these ends in a table of the kernel (proc(5), `/proc/net/tcp`).
fn listed(table: &str, peer: SocketAddr, here: SocketAddr) -> Option<Listed> {
    let (peers, heres) = (spellings(peer), spellings(here));
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (fields.next()?, fields.next()?);
        if !peers.iter().any(|one| one == local) || !heres.iter().any(|one| one == remote) {
            return None;
        }
        // State, queues, timer, retransmissions; then user, timeouts, inode.
        let mut rest = fields.skip(4);
        let uid = rest.next()?.parse().ok()?;
        let inode = rest.nth(1)?.parse().ok()?;
        (inode != 0).then_some(Listed { uid, inode })
    })
}

/// An address as the tables write it: words in the machine's own order. A socket of version 6 may speak to one of version 4.
fn spellings(address: SocketAddr) -> [String; 2] {
    let port = address.port();
    let IpAddr::V4(ip) = address.ip().to_canonical() else { return [String::new(), String::new()] };
    let short = format!("{:08X}", u32::from_ne_bytes(ip.octets()));
    let middle = format!("{:08X}", u32::from_ne_bytes([0, 0, 0xff, 0xff]));
    [format!("{short}:{port:04X}"), format!("{:016X}{middle}{short}:{port:04X}", 0)]
}

/// The processes of an instance: its group's where there is one, which nobody can leave, and those that descend from its first one.
fn processes(residents: &Residents) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    for group in &residents.groups {
        let text = fs::read_to_string(group).unwrap_or_default();
        all.extend(text.lines().filter_map(|line| line.trim().parse::<u32>().ok()));
    }
    let mut left = vec![residents.pid];
    while let Some(pid) = left.pop() {
        if all.insert(pid) || pid == residents.pid {
            left.extend(children(pid).into_iter().filter(|child| !all.contains(child)));
        }
    }
    all
}

fn children(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(text.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    all
}

fn holds(pid: u32, inode: u64) -> io::Result<bool> {
    let wanted = format!("socket:[{inode}]");
    for descriptor in fs::read_dir(format!("/proc/{pid}/fd"))? {
        match fs::read_link(descriptor?.path()) {
            Ok(target) if target == Path::new(&wanted) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(false)
}

/// Who a process is to the file system, and so the owner of the sockets that it makes (proc(5), `Uid`: the last of four).
fn user_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().nth(3)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use model::ids::InstanceId;

    use super::*;

    #[test]
    fn a_connection_of_this_process_is_known() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let here = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(here).expect("connects");
        let peer = client.local_addr().expect("connected");
        let of = |name: &str, pid| Residents { instance: InstanceId::Opaque(name.into()), pid, groups: Vec::new() };
        let (ours, gone) = (of("ours", std::process::id()), of("gone", u32::MAX - 1));
        assert_eq!(find(peer, here, &[gone.clone(), ours.clone()]), Ok(vec![1]));
        assert!(find(peer, here, std::slice::from_ref(&gone)).is_err(), "another's connection");
        assert!(find(peer, here, &[]).is_err());
        assert!(find(SocketAddr::from(([127, 0, 0, 1], 1)), here, &[ours]).is_err(), "no such connection");
    }

    #[test]
    fn tables_of_the_kernel_are_read() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line = "   1: 0100007F:D431 0100007F:1F90 01 00000000:00000000 00:00000000 00000000   501        0 4242 1 0 20 0 0 10 -1\n";
        let table = format!("{head}{line}");
        let (peer, here) = (SocketAddr::from(([127, 0, 0, 1], 0xd431)), SocketAddr::from(([127, 0, 0, 1], 0x1f90)));
        if cfg!(target_endian = "little") {
            assert_eq!(listed(&table, peer, here), Some(Listed { uid: 501, inode: 4242 }));
        }
        assert_eq!(listed(&table, here, peer), None, "the other end");
        for torn in ["", head, "x", &table[..120], "a\n1: 0100007F:D431 0100007F:1F90\n"] {
            assert_eq!(listed(torn, peer, here), None, "{torn}");
        }
    }
}
