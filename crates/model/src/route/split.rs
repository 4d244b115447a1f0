//! Which version of a split a request goes to (rows T4, T5, T10): the client falls into one of 1000 buckets, by its address, its cookie or a draw,
//! and the split says whose the bucket is.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use http::{HeaderMap, HeaderValue, header};

use crate::ids::VersionId;
use crate::traffic::{ShardBy, TrafficSplit, WHOLE};

/// The cookie by which a client keeps its version: a number from 0 to 999.
pub const COOKIE: &str = "GOOGAPPUID";

/// How long a browser keeps the cookie: a year.
const MAX_AGE: u32 = 31_536_000;

/// A version and what the client is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked<'s> {
    /// The version.
    pub version: &'s VersionId,
    /// The client was drawn for this bucket: it gets a cookie that says so, unless the app's answer sets one itself.
    pub cookie: Option<u16>,
}

/// Picks. `draw` is asked for a random number where one is needed.
pub fn pick<'s>(split: &'s TrafficSplit, client: IpAddr, headers: &HeaderMap, draw: impl FnOnce() -> u64) -> Picked<'s> {
    let settled = |bucket| Picked { version: split.owner(bucket), cookie: None };
    match split.by() {
        Some(ShardBy::Ip) => settled(bucket_of_address(client)),
        Some(ShardBy::Cookie) => bucket_of_cookie(headers).map_or_else(
            || {
                let bucket = spread(draw());
                Picked { version: split.owner(bucket), cookie: Some(bucket) }
            },
            settled,
        ),
        Some(ShardBy::Random) | None => settled(spread(draw())),
    }
}

/// The bucket of an address. Part of what is promised: clients keep their version over restarts and updates only as long as this stays as it is.
///
/// Of an IPv6 address only the network counts (its first 64 bits): the rest changes daily on most clients (RFC 8981).
pub fn bucket_of_address(address: IpAddr) -> u16 {
    let (kind, bits) = match address.to_canonical() {
        IpAddr::V4(address) => (4, u64::from(address.to_bits())),
        IpAddr::V6(address) => (6, u64::try_from(address.to_bits() >> 64).unwrap_or_default()),
    };
    // The finalizer of MurmurHash3, twice: neighbouring networks must not be neighbouring buckets.
    spread(mix(mix(bits) ^ kind))
}

fn mix(mut bits: u64) -> u64 {
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        bits ^= bits >> 33;
        bits = bits.wrapping_mul(factor);
    }
    bits ^ (bits >> 33)
}

/// A random number as a bucket, without the bias of a remainder.
fn spread(random: u64) -> u16 {
    let bucket = (u128::from(random) * u128::from(WHOLE)) >> 64;
    u16::try_from(bucket).unwrap_or_default()
}

/// The bucket that the client's cookie names: the first of that name whose value is one.
pub fn bucket_of_cookie(headers: &HeaderMap) -> Option<u16> {
    let lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let cookies = lines.flat_map(|line| line.split(|&b| b == b';')).map(<[u8]>::trim_ascii);
    cookies.filter_map(|cookie| cookie.strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"=")).find_map(bucket)
}

/// A value from 0 to 999; any other is as good as none.
fn bucket(value: &[u8]) -> Option<u16> {
    if value.is_empty() || value.len() > 3 {
        return None;
    }
    value.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0')))
}

/// Tells the client its bucket, unless the answer sets the cookie itself.
pub fn set_cookie(headers: &mut HeaderMap, bucket: u16) {
    let own = |value: &HeaderValue| {
        value.as_bytes().trim_ascii_start().strip_prefix(COOKIE.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
    };
    if headers.get_all(header::SET_COOKIE).iter().any(own) {
        return;
    }
    // Readable for scripts: pages may choose their version, as the app may (docs/decisions/202-split-cookie.md).
    if let Ok(value) = HeaderValue::try_from(format!("{COOKIE}={bucket}; Path=/; Max-Age={MAX_AGE}; SameSite=Lax")) {
        headers.append(header::SET_COOKIE, value);
    }
}

/// Who is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who<'a> {
    /// A client at this address.
    Ip(IpAddr),
    /// A client with this value of the cookie.
    Cookie(&'a str),
}

/// Which version a client gets, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The version; absent if it is drawn anew for each request.
    pub version: Option<VersionId>,
    /// The client's bucket; absent if it has none, or none is asked for.
    pub bucket: Option<u16>,
    /// The reason in one sentence.
    pub why: String,
    /// Whose the buckets are, in order; empty if there is only one version.
    pub ranges: Vec<(RangeInclusive<u16>, VersionId)>,
}

/// Explains.
pub fn explain(split: &TrafficSplit, who: Who<'_>) -> Explained {
    if let Some(only) = split.only() {
        let why = format!("`{only}` takes all traffic, so nobody is told apart.");
        return Explained { version: Some(only.clone()), bucket: None, why, ranges: Vec::new() };
    }
    let ranges = split.ranges().into_iter().map(|(range, version)| (range, version.clone())).collect();
    let drawn = |why: String| Explained { version: None, bucket: None, why, ranges: Vec::clone(&ranges) };
    let (bucket, what) = match (split.by(), who) {
        (Some(ShardBy::Ip), Who::Ip(address)) => (bucket_of_address(address), written(address)),
        (Some(ShardBy::Cookie), Who::Cookie(value)) => match bucket(value.as_bytes()) {
            Some(bucket) => (bucket, format!("{COOKIE}={value}")),
            None => {
                return drawn(format!(
                    "`{value}` is no number from 0 to 999, which is as good as no cookie: the first answer sets one that is drawn."
                ));
            }
        },
        (Some(ShardBy::Ip), Who::Cookie(_)) => {
            return drawn("The split is by address, so the cookie decides nothing; ask with the address.".into());
        }
        (Some(ShardBy::Cookie), Who::Ip(_)) => {
            return drawn(format!(
                "The split is by cookie, so the address decides nothing: a client without {COOKIE} is drawn for a bucket and keeps it in the cookie."
            ));
        }
        (Some(ShardBy::Random) | None, _) => return drawn("The split is random: each request is drawn anew, whoever sends it.".into()),
    };
    let version = split.owner(bucket).clone();
    let share = split.share(version.as_str());
    let why = format!(
        "{what} falls into bucket {bucket} of 0–999, which is one of the {share} that belong to `{version}` ({}.{} %).",
        share / 10,
        share % 10
    );
    Explained { version: Some(version), bucket: Some(bucket), why, ranges }
}

fn written(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{address} (its network {}/64)", std::net::Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn split(by: Option<ShardBy>, parts: &[(&str, u16)]) -> TrafficSplit {
        TrafficSplit::new(by, parts.iter().map(|(version, share)| (version.parse().expect("a name"), *share)).collect()).expect("a split")
    }

    fn cookies(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (header::COOKIE, HeaderValue::try_from(*line).expect("a value"))).collect()
    }

    /// Each version's share of `picked`, against what was asked for: ±0.3 %.
    fn check_shares<'s>(split: &'s TrafficSplit, picked: impl Iterator<Item = &'s VersionId>) {
        let mut counts: BTreeMap<&VersionId, u32> = BTreeMap::new();
        for version in picked {
            *counts.entry(version).or_default() += 1;
        }
        let all = f64::from(counts.values().sum::<u32>());
        for (version, share) in split.parts() {
            let got = f64::from(counts.get(version).copied().unwrap_or_default()) / all;
            let asked = f64::from(share) / 1000.0;
            assert!((got - asked).abs() < 0.003, "{version}: {got} instead of {asked}");
        }
    }

    #[test]
    fn t4_a_million_addresses_are_split_as_asked() {
        let split = split(Some(ShardBy::Ip), &[("v1", 600), ("v2", 200), ("v3", 190), ("v4", 10)]);
        let none = HeaderMap::new();
        let pick = |address: IpAddr| pick(&split, address, &none, || unreachable!("an address needs no draw")).version;
        // Neighbours, networks of one provider, and addresses all over the world.
        check_shares(&split, (0..1_000_000_u32).map(|n| pick(Ipv4Addr::from_bits(0x0a00_0000 + n).into())));
        check_shares(&split, (0..1_000_000_u32).map(|n| pick(Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b9)).into())));
        check_shares(&split, (0..1_000_000_u32).map(|n| pick(Ipv4Addr::from_bits(n << 8 | 1).into())));
        check_shares(&split, (0..1_000_000_u128).map(|n| pick(Ipv6Addr::from_bits(0x2001_0db8 << 96 | n << 64 | 1).into())));
        check_shares(&split, (0..1_000_000_u128).map(|n| pick(Ipv6Addr::from_bits(0x2a02 << 112 | n << 72 | n).into())));
    }

    #[test]
    fn t4_a_million_cookies_and_draws_are_split_as_asked() {
        let mut random: u64 = 1;
        let mut draw = || {
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(random)
        };
        let client = IpAddr::from([192, 0, 2, 1]);
        for by in [Some(ShardBy::Cookie), Some(ShardBy::Random), None] {
            let split = split(by, &[("v1", 600), ("v2", 200), ("v3", 199), ("v4", 1)]);
            let none = HeaderMap::new();
            check_shares(&split, (0..1_000_000).map(|_| pick(&split, client, &none, &mut draw).version));
        }
        // Those that come back with their cookies: exactly.
        let split = split(Some(ShardBy::Cookie), &[("v1", 600), ("v2", 399), ("v3", 1)]);
        let mut counts: BTreeMap<&VersionId, u16> = BTreeMap::new();
        for bucket in 0..WHOLE {
            let picked = pick(&split, client, &cookies(&[&format!("a=b; GOOGAPPUID={bucket}")]), || unreachable!("a cookie needs no draw"));
            assert_eq!(picked.cookie, None);
            *counts.entry(picked.version).or_default() += 1;
        }
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), split.parts().collect::<Vec<_>>());
    }

    #[test]
    fn t10_the_bucket_of_an_address_never_changes() {
        for (address, want) in
            [("0.0.0.0", BUCKETS[0]), ("127.0.0.1", BUCKETS[1]), ("203.0.113.9", BUCKETS[2]), ("2001:db8::1", BUCKETS[3])]
        {
            assert_eq!(bucket_of_address(address.parse().expect("an address")), want, "{address}");
        }
        let of = |text: &str| bucket_of_address(text.parse().expect("an address"));
        assert_eq!(of("::ffff:203.0.113.9"), of("203.0.113.9"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:aaaa:bbbb:cccc:dddd"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }

    /// Written down when the rule was made.
    const BUCKETS: [u16; 4] = [279, 839, 16, 50];

    #[test]
    fn t10_only_numbers_from_0_to_999_are_cookies() {
        for (lines, want) in [
            (&["GOOGAPPUID=0"][..], Some(0)),
            (&["GOOGAPPUID=999"], Some(999)),
            (&["a=1; GOOGAPPUID=42;b=2"], Some(42)),
            (&["a=1", "GOOGAPPUID=007"], Some(7)),
            (&["GOOGAPPUID=x; GOOGAPPUID=5"], Some(5)),
            (&["GOOGAPPUID=1000"], None),
            (&["GOOGAPPUID=-1"], None),
            (&["GOOGAPPUID="], None),
            (&["GOOGAPPUID"], None),
            (&["GOOGAPPUID=1.5"], None),
            (&["GOOGAPPUID=xCgsIBBDhBSDKhcuXBg"], None),
            (&["XGOOGAPPUID=5"], None),
            (&["GOOGAPPUIDX=5"], None),
            (&[], None),
        ] {
            assert_eq!(bucket_of_cookie(&cookies(lines)), want, "{lines:?}");
        }
    }

    #[test]
    fn t10_who_was_drawn_is_told_unless_the_app_says_something() {
        let split = split(Some(ShardBy::Cookie), &[("v1", 500), ("v2", 500)]);
        let picked = pick(&split, IpAddr::from([192, 0, 2, 1]), &cookies(&["GOOGAPPUID=nonsense"]), || u64::MAX);
        assert_eq!((picked.version.as_str(), picked.cookie), ("v2", Some(999)));
        let mut headers = HeaderMap::new();
        headers.insert(header::SET_COOKIE, HeaderValue::from_static("GOOGAPPUIDX=1"));
        set_cookie(&mut headers, 999);
        let all: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(all, ["GOOGAPPUIDX=1", "GOOGAPPUID=999; Path=/; Max-Age=31536000; SameSite=Lax"]);
        let mut headers = HeaderMap::new();
        headers.insert(header::SET_COOKIE, HeaderValue::from_static("GOOGAPPUID=5; Path=/x"));
        set_cookie(&mut headers, 999);
        assert_eq!(headers.get_all(header::SET_COOKIE).iter().count(), 1);
    }

    #[test]
    fn t10_explanations_name_the_bucket_and_the_reason() {
        let by_ip = split(Some(ShardBy::Ip), &[("v1", 600), ("v2", 400)]);
        let by_cookie = split(Some(ShardBy::Cookie), &[("v1", 605), ("v2", 395)]);
        let address = IpAddr::from([203, 0, 113, 9]);
        let told = explain(&by_ip, Who::Ip(address));
        assert_eq!(told.bucket, Some(bucket_of_address(address)));
        assert_eq!(told.version.as_ref(), Some(by_ip.owner(bucket_of_address(address))));
        assert_eq!(told.ranges.len(), 2);
        let told = explain(&by_cookie, Who::Cookie("604"));
        assert_eq!(told.why, "GOOGAPPUID=604 falls into bucket 604 of 0–999, which is one of the 605 that belong to `v1` (60.5 %).");
        for (split, who) in [
            (&by_cookie, Who::Cookie("v2")),
            (&by_cookie, Who::Ip(address)),
            (&by_ip, Who::Cookie("5")),
            (&split(None, &[("v1", 600), ("v2", 400)]), Who::Ip(address)),
        ] {
            assert_eq!(explain(split, who).version, None, "{who:?}");
        }
        assert_eq!(explain(&TrafficSplit::all("v1".parse().expect("a name")), Who::Ip(address)).version.expect("one").as_str(), "v1");
    }
}
