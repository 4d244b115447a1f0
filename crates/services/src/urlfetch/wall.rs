//! Which addresses may be fetched. Judged is the address that is really connected to, so neither names, nor redirects, nor a DNS server that changes its
//! mind lead around it. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::proxy::Proxies;

/// Why an address may not be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub &'static str);

/// Whether the owner of the server lets apps reach `address`.
///
/// # Errors
/// What kind of address it is.
pub fn check(address: IpAddr, allowed: &Proxies) -> Result<(), Refused> {
    let canonical = address.to_canonical();
    match kind(canonical) {
        Some(kind) if !allowed.trust(canonical) => Err(Refused(kind)),
        _ => Ok(()),
    }
}

/// What an address is, if it is none of the public internet's.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => kind_of_v6(address),
    }
}

/// IANA's registry of special-purpose addresses, and multicast.
fn kind_of_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [127, ..] => Some("a loopback address"),
        [0, ..] => Some("an address of this network"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("a private address"),
        [169, 254, ..] => Some("a link-local address"),
        [100, 64..=127, ..] => Some("an address of a carrier's network"),
        [192, 0, 0, _] | [198, 18..=19, ..] | [240..=255, ..] => Some("a reserved address"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("an address of documentation"),
        [192, 88, 99, _] => Some("a relay's address"),
        [224..=239, ..] => Some("a multicast address"),
        _ => None,
    }
}

/// Only `2000::/3` is the internet's, without the parts of it that are special or hold an IPv4 address.
fn kind_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        [0xfc00..=0xfdff, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        // NAT64 and 6to4: packets end at the IPv4 address inside.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => kind_of_v4(embedded(high, low)),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("an address of documentation"),
        [0x2001, 0..=0x01ff, ..] => Some("a reserved address"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address"),
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_only_the_internet_is_open() {
        let none = Proxies::default();
        for open in ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1", "172.32.0.1", "100.128.0.1"] {
            assert_eq!(check(open.parse().expect("an address"), &none), Ok(()), "{open}");
        }
        for closed in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.19.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(check(closed.parse().expect("an address"), &none).is_err(), "{closed}");
        }
    }

    #[test]
    fn s6_the_owner_opens_networks() {
        let some: Proxies = "127.0.0.0/8,fd00::/8".parse().expect("networks");
        assert_eq!(check("127.3.2.1".parse().expect("an address"), &some), Ok(()));
        assert_eq!(check("::ffff:127.0.0.1".parse().expect("an address"), &some), Ok(()));
        assert_eq!(check("fd00::7".parse().expect("an address"), &some), Ok(()));
        assert!(check("10.0.0.1".parse().expect("an address"), &some).is_err());
        assert!(check("::1".parse().expect("an address"), &some).is_err());
    }
}
