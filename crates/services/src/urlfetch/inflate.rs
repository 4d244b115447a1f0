//! gzip taken off answers. Pure, and bounded: a little that unpacks to very much costs no more than the limit.

use std::io::{self, Read as _};

use flate2::read::MultiGzDecoder;

/// The first `most` bytes of what is packed in `packed`, and whether there are more. Where `cut`, the end is missing and is not missed.
///
/// # Errors
/// If it is no gzip.
pub fn gunzip(packed: &[u8], cut: bool, most: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut out = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    match MultiGzDecoder::new(packed).take(limit).read_to_end(&mut out) {
        Err(error) if !(cut && error.kind() == io::ErrorKind::UnexpectedEof) => return Err(error),
        _ => {}
    }
    let more = out.len() > most;
    out.truncate(most);
    Ok((out, more))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("packing");
        encoder.finish().expect("packing")
    }

    #[test]
    fn s6_answers_are_unpacked_up_to_a_limit() {
        let bomb = packed(&vec![0; 1 << 22]);
        assert!(bomb.len() < 1 << 14);
        assert_eq!(gunzip(&packed(b"text"), false, 100).expect("gzip"), (b"text".to_vec(), false));
        assert_eq!(gunzip(&packed(b"text"), false, 4).expect("gzip"), (b"text".to_vec(), false));
        assert_eq!(gunzip(&bomb, false, 1000).expect("gzip"), (vec![0; 1000], true));
        assert!(gunzip(b"no gzip", false, 100).is_err());
        let half = &packed(b"a text that ends too early")[..20];
        assert!(gunzip(half, false, 100).is_err());
        assert!(gunzip(half, true, 100).is_ok());
    }
}
