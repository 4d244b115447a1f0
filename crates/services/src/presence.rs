//! What prost does not look at. Required fields: the messages of the first SDKs have many, and their clients rely on the server to notice one that is
//! missing. And what a message becomes in memory: of two bytes prost makes a part of some hundred. So the bytes of a message are walked before prost reads
//! them, beside a table that `build.rs` makes of the definitions.

use prost::Name;

/// What is known of one message.
struct Shape {
    name: &'static str,
    required: &'static [(u32, &'static str)],
    nested: &'static [(u32, &'static Self)],
    /// How many fields it may have.
    fields: usize,
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This field is required and missing.
    Missing(String),
    /// It would take too much memory.
    TooMany,
}

/// Bytes that a message may take once it is read, besides its texts, by [`Shape::cost`]. Far beyond what SDKs send: a `BulkAdd` has 100 tasks.
const ROOM: usize = 128 << 20;
/// Bytes of a field that is a text, a number, or unknown.
const FIELD: usize = 40;

impl Shape {
    /// What a message of this shape takes at least, about: prost keeps a place for each field, whether it is there or not.
    fn cost(&self) -> usize {
        FIELD + FIELD * self.fields
    }
}

#[allow(clippy::all, clippy::pedantic, reason = "generated")]
mod shapes {
    use super::Shape;
    include!(concat!(env!("OUT_DIR"), "/shapes.rs"));
    pub(super) fn find(package: &str, name: &str) -> Option<&'static Shape> {
        of(package, name)
    }
}

/// prost refuses what is nested deeper.
const DEEPEST: u32 = 100;

/// Looks for the first required field that a message lacks, and whether there are too many parts before it. Of bytes that are no message it says nothing:
/// those prost refuses.
pub(crate) fn fault<M: Name>(message: &[u8]) -> Option<Fault> {
    let shape = shapes::find(M::PACKAGE, M::NAME).unwrap_or(&UNKNOWN);
    if shape.required.is_empty() && shape.nested.is_empty() && message.len() < ROOM / FIELD {
        return None;
    }
    let mut walk = Walk { rest: Bytes(message), room: ROOM };
    walk.message(shape, None, 0).err().flatten()
}

/// Why a walk ended early: with what is wrong, or because this is no message.
type Broken = Option<Fault>;

/// A walk through all parts of a message.
struct Walk<'a> {
    rest: Bytes<'a>,
    room: usize,
}

impl Walk<'_> {
    /// Walks one message, to its end or to the end of the group `within`.
    fn message(&mut self, shape: &Shape, within: Option<u32>, depth: u32) -> Result<(), Broken> {
        if depth > DEEPEST {
            return Err(None);
        }
        self.pay(shape.cost())?;
        let mut seen = 0_u64;
        while let Some((field, kind)) = self.rest.tag()? {
            if kind == END_GROUP {
                if within != Some(field) {
                    return Err(None);
                }
                return complete(shape, seen);
            }
            if let Some(at) = shape.required.iter().position(|(number, _)| *number == field) {
                seen |= 1 << at.min(63);
            }
            let nested = shape.nested.iter().find(|(number, _)| *number == field).map(|(_, nested)| *nested);
            match (kind, nested) {
                (START_GROUP, nested) => self.message(nested.unwrap_or(&UNKNOWN), Some(field), depth + 1)?,
                (DELIMITED, Some(nested)) => {
                    let inner = Bytes(self.rest.delimited()?);
                    let after = std::mem::replace(&mut self.rest, inner);
                    self.message(nested, None, depth + 1)?;
                    self.rest = after;
                }
                (DELIMITED, None) => {
                    self.rest.delimited()?;
                    self.pay(FIELD)?;
                }
                (VARINT, _) => drop(self.rest.varint()?),
                (FIXED64, _) => drop(self.rest.take(8)?),
                (FIXED32, _) => drop(self.rest.take(4)?),
                _ => return Err(None),
            }
        }
        if within.is_some() {
            return Err(None);
        }
        complete(shape, seen)
    }

    fn pay(&mut self, bytes: usize) -> Result<(), Broken> {
        self.room = self.room.checked_sub(bytes).ok_or(Some(Fault::TooMany))?;
        Ok(())
    }
}

fn complete(shape: &Shape, seen: u64) -> Result<(), Broken> {
    match shape.required.iter().enumerate().find(|(at, _)| seen & (1 << at.min(&63)) == 0) {
        Some((_, (_, field))) => Err(Some(Fault::Missing(format!("{}.{field}", shape.name)))),
        None => Ok(()),
    }
}

/// A group that the definitions do not have.
static UNKNOWN: Shape = Shape { name: "", required: &[], nested: &[], fields: 0 };

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const DELIMITED: u32 = 2;
const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;
const FIXED32: u32 = 5;

/// What is left of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// The next field's number and wire type; `None` at the end.
    fn tag(&mut self) -> Result<Option<(u32, u32)>, Broken> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| None)?;
        Ok(Some((tag >> 3, tag & 7)))
    }

    fn varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(None)
    }

    fn delimited(&mut self) -> Result<&'a [u8], Broken> {
        let length = usize::try_from(self.varint()?).map_err(|_| None)?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(None)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::{Fault, fault};
    use crate::proto::{memcache, remote_api, taskqueue, user};

    fn missing<M: prost::Name>(message: &[u8]) -> Option<String> {
        match fault::<M>(message)? {
            Fault::Missing(field) => Some(field),
            Fault::TooMany => panic!("not too many"),
        }
    }

    #[test]
    fn m4_parts_without_end_are_refused() {
        // Tasks of eight bytes, and names of two, which would take a hundred times as much.
        assert_eq!(
            fault::<taskqueue::TaskQueueBulkAddRequest>(&[0x0a, 6, 0x0a, 0, 0x12, 0, 0x18, 0].repeat(1 << 20)),
            Some(Fault::TooMany)
        );
        assert_eq!(fault::<taskqueue::TaskQueueFetchQueueStatsRequest>(&[0x12, 0].repeat(4 << 20)), Some(Fault::TooMany));
        assert_eq!(fault::<memcache::GetRequest>(&[0x0a, 0].repeat(4 << 20)), Some(Fault::TooMany));
        // What is large at once is not many.
        let keys = memcache::GetRequest { key: vec![vec![0; 250].into(); 100_000], ..Default::default() };
        assert_eq!(fault::<memcache::GetRequest>(&keys.encode_to_vec()), None);
    }

    #[test]
    fn the_first_field_that_is_missing_is_named() {
        let whole = remote_api::Request { service_name: "a".into(), method: "b".into(), ..Default::default() };
        let (bytes, none) = (whole.encode_to_vec(), remote_api::Request::default().encode_to_vec());
        assert_eq!(missing::<remote_api::Request>(&bytes), None, "prost writes required fields even if they are empty");
        assert_eq!(missing::<remote_api::Request>(&none), None);
        assert_eq!(missing::<remote_api::Request>(&[]).as_deref(), Some("Request.service_name"));
        assert_eq!(missing::<remote_api::Request>(&bytes[..3]).as_deref(), Some("Request.method"));
        assert_eq!(missing::<user::CreateLoginUrlRequest>(&[]).as_deref(), Some("CreateLoginURLRequest.destination_url"));
        assert_eq!(missing::<memcache::StatsRequest>(&[]), None, "nothing is required");
    }

    #[test]
    fn groups_are_walked() {
        // Set { Item { key: "k" } }: no value
        let bytes = [0x0b, 0x12, 1, b'k', 0x0c];
        assert_eq!(missing::<memcache::SetRequest>(&bytes).as_deref(), Some("SetRequest.Item.value"));
        // … in an unknown group, which is nobody's business
        assert_eq!(missing::<memcache::SetRequest>(&[0xfb, 0x01, 0x0b, 0x0c, 0xfc, 0x01]), None);
        // Stats { override { } }
        assert_eq!(missing::<memcache::StatsRequest>(&[0x0a, 0]).as_deref(), Some("AppOverride.app_id"));
    }

    proptest! {
        #[test]
        fn what_prost_writes_is_whole(key in proptest::collection::vec(any::<u8>(), 0..40), flags in any::<Option<u32>>()) {
            let item = memcache::set_request::Item { key: key.clone().into(), value: key.into(), flags, ..Default::default() };
            let bytes = memcache::SetRequest { item: vec![item.clone(), item], ..Default::default() }.encode_to_vec();
            prop_assert_eq!(missing::<memcache::SetRequest>(&bytes), None);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            missing::<memcache::SetRequest>(&bytes);
            missing::<remote_api::Request>(&bytes);
        }
    }
}
