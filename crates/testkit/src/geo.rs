//! A geographic database that knows one thing: where 127.0.0.0/8 is. The format is public (the `MaxMind` DB file format, version 2.0).

/// The database: its places are `country`, `region`, `city` and the point.
pub fn database(country: &str, region: &str, city: &str, point: (f64, f64)) -> Vec<u8> {
    let bits = [0, 1, 1, 1, 1, 1, 1, 1];
    let nodes = bits.len();
    let found = nodes + 16;
    let mut out = Vec::new();
    for (depth, bit) in bits.into_iter().enumerate() {
        let next = if depth + 1 == nodes { found } else { depth + 1 };
        let (left, right) = if bit == 0 { (next, nodes) } else { (nodes, next) };
        for record in [left, right] {
            let record = u32::try_from(record).expect("a small tree").to_be_bytes();
            out.extend_from_slice(&record[1..]);
        }
    }
    out.extend_from_slice(&[0; 16]);
    let name = |text: &str| map(&[("names", map(&[("en", text_value(text))]))]);
    let code = |text: &str| map(&[("iso_code", text_value(text))]);
    out.extend(map(&[
        ("country", code(country)),
        ("subdivisions", [vec![1, 4], code(region)].concat()),
        ("city", name(city)),
        ("location", map(&[("latitude", double(point.0)), ("longitude", double(point.1))])),
    ]));
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    out.extend(map(&[
        ("node_count", [vec![6 << 5 | 4], u32::try_from(nodes).expect("a small tree").to_be_bytes().to_vec()].concat()),
        ("record_size", small(24)),
        ("ip_version", small(4)),
        ("database_type", text_value("Test-City")),
        ("languages", [vec![1, 4], text_value("en")].concat()),
        ("binary_format_major_version", small(2)),
        ("binary_format_minor_version", small(0)),
        ("build_epoch", [vec![8, 2], 1_700_000_000_u64.to_be_bytes().to_vec()].concat()),
        ("description", map(&[("en", text_value("made for a test"))])),
    ]));
    out
}

fn text_value(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|&length| length < 29).expect("a short text");
    [vec![2 << 5 | length], text.as_bytes().to_vec()].concat()
}

fn double(number: f64) -> Vec<u8> {
    [vec![3 << 5 | 8], number.to_be_bytes().to_vec()].concat()
}

fn small(number: u16) -> Vec<u8> {
    [vec![5 << 5 | 2], number.to_be_bytes().to_vec()].concat()
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![7 << 5 | u8::try_from(entries.len()).expect("a small map")];
    for (key, value) in entries {
        out.extend(text_value(key));
        out.extend_from_slice(value);
    }
    out
}
