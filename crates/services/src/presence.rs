//! Required fields. The messages of the first SDKs have many, and their clients rely on the server to notice one that is missing; prost does not. So the
//! bytes of a message that prost has accepted are walked once more, beside a table that `build.rs` makes of the definitions.

use prost::Name;

/// What is required of one message.
struct Shape {
    name: &'static str,
    required: &'static [(u32, &'static str)],
    nested: &'static [(u32, &'static Self)],
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

/// Names the first required field that a message lacks. Of bytes that are no message it says nothing: those prost refuses.
pub(crate) fn missing<M: Name>(message: &[u8]) -> Option<String> {
    let shape = shapes::find(M::PACKAGE, M::NAME)?;
    if shape.required.is_empty() && shape.nested.is_empty() {
        return None;
    }
    walk(shape, &mut Bytes(message), None, 0).err().flatten()
}

/// Why a walk ended early: with the field that is missing, or because this is no message.
type Broken = Option<String>;

/// Walks one message, to its end or to the end of the group `within`.
fn walk(shape: &Shape, bytes: &mut Bytes<'_>, within: Option<u32>, depth: u32) -> Result<(), Broken> {
    if depth > DEEPEST {
        return Err(None);
    }
    let mut seen = 0_u64;
    while let Some((field, kind)) = bytes.tag()? {
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
            (START_GROUP, nested) => walk(nested.unwrap_or(&UNKNOWN), bytes, Some(field), depth + 1)?,
            (DELIMITED, Some(nested)) => walk(nested, &mut Bytes(bytes.delimited()?), None, depth + 1)?,
            (DELIMITED, None) => drop(bytes.delimited()?),
            (VARINT, _) => drop(bytes.varint()?),
            (FIXED64, _) => drop(bytes.take(8)?),
            (FIXED32, _) => drop(bytes.take(4)?),
            _ => return Err(None),
        }
    }
    if within.is_some() {
        return Err(None);
    }
    complete(shape, seen)
}

fn complete(shape: &Shape, seen: u64) -> Result<(), Broken> {
    match shape.required.iter().enumerate().find(|(at, _)| seen & (1 << at.min(&63)) == 0) {
        Some((_, (_, field))) => Err(Some(format!("{}.{field}", shape.name))),
        None => Ok(()),
    }
}

/// A group that the definitions do not have.
static UNKNOWN: Shape = Shape { name: "", required: &[], nested: &[] };

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

    use super::missing;
    use crate::proto::{memcache, remote_api, user};

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
