//! The host that a connection's requests name. Nearly always it is the same one for all of them, so it is read once.

use std::cell::RefCell;
use std::rc::Rc;

use model::route::host::{AimError, Host};

/// What a request's authority says.
#[derive(Debug)]
pub(crate) struct Known {
    /// As the client wrote it; empty if it wrote none.
    pub(crate) authority: String,
    pub(crate) host: Result<Host<'static>, AimError>,
}

/// The authority that was read last.
#[derive(Debug, Default)]
pub(crate) struct Hosts(RefCell<Option<Rc<Known>>>);

/// Longer ones are none, and not worth a connection's memory: a name has at most 253 bytes.
const KEPT: usize = 300;

impl Hosts {
    /// What `authority` says.
    pub(crate) fn read(&self, authority: &str) -> Rc<Known> {
        if let Some(known) = &*self.0.borrow()
            && known.authority == authority
        {
            return known.clone();
        }
        let host = Host::parse(authority).map(|(host, _)| host.into_owned());
        let known = Rc::new(Known { authority: authority.to_owned(), host });
        if authority.len() <= KEPT {
            self.0.replace(Some(known.clone()));
        }
        known
    }

    /// Gives memory back.
    pub(crate) fn forget(&self) {
        self.0.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_authority_is_read_as_if_it_were_the_first() {
        let hosts = Hosts::default();
        for authority in ["a.example:80", "A.example", "A.example", "127.0.0.1:1", "[::1]", "", "..", "a.example:80"] {
            let known = hosts.read(authority);
            assert_eq!(known.authority, authority);
            assert_eq!(known.host, Host::parse(authority).map(|(host, _)| host));
            assert!(Rc::ptr_eq(&known, &hosts.read(authority)));
        }
        let long = "a".repeat(KEPT + 1);
        assert!(hosts.read(&long).host.is_err());
        assert!(!Rc::ptr_eq(&hosts.read(&long), &hosts.read(&long)));
        hosts.forget();
        assert_eq!(hosts.read("b").host, Ok(Host::Name("b".into())));
    }
}
