//! Whether a jar can be run: a look at the manifest in a zip file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::DeflateDecoder;

const MANIFEST: &[u8] = b"META-INF/MANIFEST.MF";
/// The end record with the longest comment.
const LONGEST_TAIL: u64 = 22 + 65_535;
/// Bounds for what a file may claim.
const LARGEST_DIRECTORY: u64 = 64 << 20;
const LARGEST_MANIFEST: u64 = 1 << 20;

/// `Main-Class` of the manifest; `None` if there is none, or if this is no jar.
pub(super) fn main_class(jar: &Path) -> Option<String> {
    let manifest = manifest(&mut File::open(jar).ok()?)?;
    let text = String::from_utf8_lossy(&manifest).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Main-Class:"))?;
    Some(line.trim().to_owned()).filter(|class| !class.is_empty())
}

fn manifest(file: &mut File) -> Option<Vec<u8>> {
    let length = file.metadata().ok()?.len();
    let tail = read_at(file, length.saturating_sub(LONGEST_TAIL), length.min(LONGEST_TAIL))?;
    let end = tail.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let (size, offset) = (u64::from(number(&tail, end + 12, 4)?), u64::from(number(&tail, end + 16, 4)?));
    let directory = read_at(file, offset, Some(size).filter(|size| *size <= LARGEST_DIRECTORY)?)?;
    let mut at = 0;
    while directory.get(at..at + 4)? == b"PK\x01\x02" {
        let field = |place: usize, width: usize| number(&directory, at + place, width);
        let (name, extra, comment) = (field(28, 2)? as usize, field(30, 2)? as usize, field(32, 2)? as usize);
        if directory.get(at + 46..at + 46 + name)? == MANIFEST {
            return entry(file, u64::from(field(42, 4)?), u64::from(field(20, 4)?), field(10, 2)?);
        }
        at += 46 + name + extra + comment;
    }
    None
}

/// The content of the entry whose header is at `offset`.
fn entry(file: &mut File, offset: u64, packed: u64, method: u32) -> Option<Vec<u8>> {
    let header = read_at(file, offset, 30)?;
    let begin = offset + 30 + u64::from(number(&header, 26, 2)?) + u64::from(number(&header, 28, 2)?);
    let packed = read_at(file, begin, Some(packed).filter(|size| *size <= LARGEST_MANIFEST)?)?;
    if method == 0 {
        return Some(packed);
    }
    let mut plain = Vec::new();
    DeflateDecoder::new(&*packed).take(LARGEST_MANIFEST).read_to_end(&mut plain).ok()?;
    Some(plain)
}

fn read_at(file: &mut File, offset: u64, length: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// Little-endian.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u32> {
    Some(bytes.get(at..at + width)?.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_jar_has_no_main_class() {
        let home = tempfile::tempdir().expect("a folder");
        let file = home.path().join("x.jar");
        for content in [&b""[..], b"PK\x05\x06", b"PK\x05\x06\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0", &[0; 100]] {
            std::fs::write(&file, content).expect("written");
            assert_eq!(main_class(&file), None);
        }
        assert_eq!(main_class(&home.path().join("missing.jar")), None);
    }
}
